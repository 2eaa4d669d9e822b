"""A request and its answer past ASGI's messages, where the server is uvicorn: the body that has come, one write back.

ASGI sends an answer's head and its body as two messages, which become two calls of the system and two walks through
every layer. An answer that is whole can be written at once. Anywhere else, and for anything unusual, the messages do.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_BODILESS: Final = frozenset({204, 304})


class Whole(Response):
    """An answer of bytes in JSON, made without the general class's walk over headers that aren't there."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


_WHOLE: Final = frozenset({Response, Whole})


def body_at_hand(request: Request) -> bytes | None:
    """The request's whole body, if it has come with the head; None where it is still to be received."""
    cycle = getattr(request.receive, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.more_body or cycle.waiting_for_100_continue:
        return None
    return None if cycle.disconnected else bytes(cycle.body)


class Writer:
    """Writes answers. It remembers the server's own headers, which are made anew once a second."""

    def __init__(self) -> None:
        self._defaults: list[tuple[bytes, bytes]] = []
        self._default_lines = b""

    def write(self, response: Response, send: Send, more: bytes) -> bool:
        """Write a whole answer, with header lines besides its own; False where that is for ASGI's messages to do."""
        cycle: Any = getattr(send, "__self__", None)
        if (
            type(cycle) is not RequestResponseCycle
            or type(response) not in _WHOLE
            or response.background is not None
            or cycle.response_started
            or cycle.disconnected
            or cycle.flow.write_paused
        ):
            return False
        head = self._head(response, cycle, more)
        if head is None:
            return False
        without = cycle.scope["method"] == "HEAD" or response.status_code in _BODILESS
        _write(cycle, head if without else head + bytes(response.body))
        return True

    def _head(self, response: Response, cycle: RequestResponseCycle, more: bytes) -> bytes | None:
        """The head of an answer (RFC 9112); None where a header would break it."""
        if cycle.default_headers is not self._defaults:
            self._defaults = cycle.default_headers
            self._default_lines = join(self._defaults)
        own = join(response.raw_headers)
        # A line end within a header would begin another one; uvicorn looks for it, so here it is counted.
        if own.count(b"\n") != len(response.raw_headers) or own.count(b"\r") != len(response.raw_headers):
            return None
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        return b"".join((STATUS_LINE[response.status_code], self._default_lines, own, more, end))


def join(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as the lines that they are sent in."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def _write(cycle: RequestResponseCycle, written: bytes) -> None:
    """What uvicorn's cycle does at the end of an answer."""
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(written)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cast("Any", cycle).on_response()
