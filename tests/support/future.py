"""The hub as it will be one day: version 0 of its API has ended, version 1 is retired, version 2 is there."""

from starlette.applications import Starlette

from hub.app import create_app
from hub.settings import load
from hub.web.versions import ApiVersion

VERSIONS = (ApiVersion("0", 1, 2, "1"), ApiVersion("1", 1_767_225_600, 4_102_444_800, "2"), ApiVersion("2"))


def asgi() -> Starlette:
    """For `uvicorn --factory`."""
    return create_app(load(), versions=VERSIONS)
