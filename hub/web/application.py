"""The ASGI application of the declared operations: Starlette, and a short way for what needs none of its layers."""

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan

from hub.core.errors import HubError
from hub.web.cors import cors
from hub.web.http import Lines
from hub.web.middleware import RequestContext, no_route, on_failure, on_http_error, on_hub_error
from hub.web.operation import Operation, Resource, Stages, resources_by_path
from hub.web.versions import ApiVersion, Versioned


class Application(Starlette):
    """The hub's HTTP API and its live routes. `origins` are the pages' that may call it, or `*`."""

    def __init__(
        self,
        operations: Sequence[Operation],
        stages: Stages,
        live: Sequence[BaseRoute],
        *,
        versions: tuple[ApiVersion, ...],
        origins: tuple[str, ...],
        lifespan: Lifespan["Application"],
    ) -> None:
        resources = resources_by_path(operations, stages)
        super().__init__(
            # Without methods here the resource sees them all, so that it can name those that are allowed.
            routes=[*(Route(path, resource) for path, resource in resources.items()), *live],
            middleware=[*cors(origins), Middleware(Versioned, _versioned(resources), versions)],
            exception_handlers={HubError: on_hub_error, HTTPException: on_http_error, Exception: on_failure},
            lifespan=lifespan,
        )
        self.router.redirect_slashes = False  # a redirect would lead to whatever the Host header says
        self.router.default = no_route
        self._direct = _direct(resources, versions)
        self._has_origins = bool(origins)

    def build_middleware_stack(self) -> ASGIApp:
        return RequestContext(super().build_middleware_stack(), self._direct, cors=self._has_origins)


def _versioned(resources: Mapping[str, Resource]) -> frozenset[str]:
    """The first segments of the paths that have versions."""
    return frozenset(path.split("/")[2] for path in resources if path.startswith("/v1/"))


def _direct(resources: Mapping[str, Resource], versions: tuple[ApiVersion, ...]) -> dict[str, tuple[Resource, Lines]]:
    """What a path without parameters leads to; not of a version that ends, which the layers then know."""
    headers = {version.name: version.headers() for version in versions if version.ends is None}
    found: dict[str, tuple[Resource, Lines]] = {}
    for path, resource in resources.items():
        version = path.split("/")[1].removeprefix("v")
        if "{" in path or (version.isdigit() and version not in headers):
            continue
        found[path] = resource, headers.get(version, [])
    return found
