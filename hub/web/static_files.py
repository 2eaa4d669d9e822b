"""`GET /docs/static/{name}`: the files of the hub's own pages, which load nothing from elsewhere."""

from functools import cache
from importlib.resources import files

from starlette.responses import Response

from hub.core.errors import NotFound
from hub.web.auth import OPEN
from hub.web.operation import Call, Operation

KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@cache
def load(name: str) -> bytes | None:
    """A file of the folder, by its name alone."""
    for file in files("hub.web").joinpath("static").iterdir():
        if file.name == name:
            return file.read_bytes()
    return None


async def read(call: Call[None]) -> Response:
    """A style sheet, a script or a picture."""
    name = call.path("name")
    kind, content = KINDS.get(name.rpartition(".")[2]), load(name[:80])
    if kind is None or content is None:
        raise NotFound(f"No file {name[:40]!r}")
    return Response(content, media_type=kind, headers={"cache-control": "public, max-age=300"})


operations = (
    Operation("GET", "/docs/static/{name}", read, "Read a page's file", OPEN, media="text/*", errors=(NotFound,)),
)
