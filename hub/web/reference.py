"""The documents of the API: `/openapi.json`, made from its operations, a page that shows it at `/docs`, and
`/asyncapi.json` for the live connections."""

from collections.abc import Sequence

import msgspec
from starlette.responses import HTMLResponse, Response

from hub.web.accept import JSON
from hub.web.asyncapi import document as live_document
from hub.web.auth import OPEN
from hub.web.error_pages import HTML, POLICY
from hub.web.openapi import document
from hub.web.operation import Call, Operation
from hub.web.representation import etag, matches
from hub.web.static_files import load

_SHARED = {"cache-control": "public, no-cache", "access-control-allow-origin": "*"}
"""Documents may be read by pages of every origin: tools that show them are such pages."""


def with_documents(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """These operations and those that describe them all."""
    made: list[Operation] = []
    kept: dict[str, bytes] = {}

    async def openapi(call: Call[None]) -> Response:
        """OpenAPI 3.1, made from the code that serves."""
        if "openapi" not in kept:
            kept["openapi"] = msgspec.json.encode(document(made))
        return _document(call, kept["openapi"])

    async def asyncapi(call: Call[None]) -> Response:
        """AsyncAPI 3.0: the messages of WebSocket and server-sent events."""
        if "asyncapi" not in kept:
            kept["asyncapi"] = msgspec.json.encode(live_document())
        return _document(call, kept["asyncapi"])

    made += [
        *operations,
        Operation("GET", "/openapi.json", openapi, "Read the OpenAPI document", OPEN, media=JSON),
        Operation("GET", "/asyncapi.json", asyncapi, "Read the AsyncAPI document", OPEN, media=JSON),
        Operation("GET", "/docs", page, "Read the documents in a browser", OPEN, media=HTML),
    ]
    return tuple(made)


async def page(_call: Call[None]) -> Response:
    """A page that shows the OpenAPI document and tries its operations. It loads nothing from elsewhere."""
    return HTMLResponse(load("docs.html"), headers=POLICY)


def _document(call: Call[None], body: bytes) -> Response:
    headers = {**_SHARED, "etag": etag(body)}
    if matches(call.request.headers.get("if-none-match"), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=JSON)
