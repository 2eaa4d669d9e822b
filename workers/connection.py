"""One HTTP/1.1 connection to a partner: one request at a time, its answer read as far as it is kept (RFC 9112)."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import httptools

from hub.store.attempts import MAX_BODY

MAX_HEAD: Final = 64 * 1024
"""Bytes of an answer before its body, interim answers included."""
MAX_READ: Final = 256 * 1024
"""Bytes of a whole answer on the wire: chunks may cost more than they carry."""
MAX_HEADERS: Final = 40
MAX_HEADER_VALUE: Final = 512
MEANT: Final = frozenset(("retry-after", "webhook-allowed-origin", "webhook-allowed-rate"))
"""Headers that decide something: they are kept wherever they stand."""


class Origin(NamedTuple):
    """What a connection leads to."""

    tls: bool
    host: str
    port: int


class Reply(NamedTuple):
    """An answer as far as it has come; `status` is None where that isn't far. Header names are lower-case."""

    status: int | None
    headers: dict[str, str]
    body: bytes


class Broken(Exception):
    """The exchange failed; `code` is `timeout`, `reset` or `protocol`, `reply` what had come by then."""

    def __init__(self, code: str, reply: Reply) -> None:
        super().__init__(code)
        self.code = code
        self.reply = reply


class Connection(asyncio.Protocol):
    """A connection that is kept: `ended` is called once it may be used again, or is closed.

    From then on it may be somebody else's, before whoever waited for the answer goes on: so what it holds of an answer
    is handed over when the answer ends, and is never read later.
    """

    def __init__(self, origin: Origin, ended: Callable[["Connection"], None]) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: list[bytes] = []
        self._size = self._read = 0
        self._has_length = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes, deadline: float) -> Reply:
        """Write a whole request and wait for its answer until `deadline`, a time of the loop's clock. Raises Broken."""
        self._status, self._headers, self._chunks, self._size, self._read = None, {}, [], 0, 0
        self._has_length = False
        if self._transport is None:
            raise Broken("reset", self._reply())
        self._waiter = waiter = self._loop.create_future()
        self._timer = self._loop.call_at(deadline, self._fail, "timeout")
        self._transport.write(request)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._fail("reset")
            raise

    # -- asyncio's side ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports aren't instances of asyncio's

    def data_received(self, data: bytes) -> None:
        self._read += len(data)
        if self._waiter is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish(keep=False)
        except httptools.HttpParserError:
            self._fail("protocol")
        if self._status is None and self._read > MAX_HEAD:
            self._fail("protocol")
        elif self._read > MAX_READ:
            self._finish(keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiter is not None:
            if self._status is None:
                self._fail("reset" if exc or not self._read else "protocol")
            elif exc is None and not self._has_length:  # such an answer ends with its connection
                self._finish(keep=False)
            else:
                self._fail("protocol" if exc is None else "reset")
        self._ended(self)

    # -- the parser's side -------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status is not None:  # a trailer
            return
        text = name.decode("latin-1").lower()
        if text == "content-length" or (text == "transfer-encoding" and value.lower().endswith(b"chunked")):
            self._has_length = True
        if len(self._headers) < MAX_HEADERS or text in MEANT:
            self._headers[text] = value[:MAX_HEADER_VALUE].decode(errors="replace")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:  # an interim answer (RFC 9110, section 15.2): the real one follows
            self._headers, self._has_length = {}, False
        else:
            self._status = status

    def on_body(self, data: bytes) -> None:
        if self._size > MAX_BODY or self._waiter is None:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > MAX_BODY:  # closing a connection is cheaper than reading on
            self._finish(keep=False)

    def on_message_complete(self) -> None:
        if self._status is not None and self._waiter is not None:
            self._finish(keep=self._parser.should_keep_alive())

    def on_message_begin(self) -> None:
        if self._waiter is None:  # more than one answer to one request
            self.close()

    # -- the end of an exchange --------------------------------------------------------------------------------------

    def _finish(self, *, keep: bool) -> None:
        waiter = self._over()
        if waiter is None:
            return
        if not waiter.done():
            waiter.set_result(self._reply())
        transport = self._transport
        if transport is None:
            return
        # An answer that came before the request was sent leaves a rest that nobody wants.
        if keep and not transport.is_closing() and not transport.get_write_buffer_size():
            self._ended(self)
        else:
            transport.abort()

    def _fail(self, code: str) -> None:
        waiter = self._over()
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(Broken(code, self._reply()))

    def _reply(self) -> Reply:
        return Reply(self._status, self._headers, b"".join(self._chunks)[:MAX_BODY])

    def _over(self) -> asyncio.Future[Reply] | None:
        waiter, self._waiter = self._waiter, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return waiter
