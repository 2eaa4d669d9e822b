"""HTTP/1.1 that waits for nobody: how long a client may take over its request, and over reading the answer.

uvicorn has no such bounds: who connects and says nothing, says half a request or reads nothing would hold its
connection, and what is kept for it, for ever (RFC 9110, section 15.5.9, has the answer: 408).
"""

import asyncio
import re
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hub.core.errors import HeadersTooLarge, HubError, NotHttp, RequestLate
from hub.telemetry import logger
from hub.web.sockets import FORCE_AFTER
from hub.web.unasked import refusal

HEAD_SECONDS: Final = 10.0
"""From the connect, or the first byte of a further request, to the end of the headers."""
BODY_SECONDS: Final = 60.0
"""For the whole body."""
SILENT_SECONDS: Final = 10.0
"""Amid a body without a byte of it, and amid an answer of which nothing is taken."""
HEAD_BYTES: Final = 64 * 1024
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[A-Za-z0-9:._~!$&'()*+,;=-]+\])(?::[0-9]*)?")
"""What a Host may be (RFC 9110, section 7.2)."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with an end to its patience.

    The deadline moves with each request while one timer stands: a connection costs a timer in ten seconds, not two a
    request.
    """

    _awaited: str | None = None
    """What the client owes: the `head` or the `body` of a request, or nothing; or the `next` request, if it likes."""
    _deadline = 0.0
    _body_deadline = 0.0
    _head_bytes = 0
    _fault = "What came is not a request of HTTP/1.1"
    _timer: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _moved = 0
    """Answers that were written and pauses that ended: what was unsent at another count is no measure for now."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.forget()
        super().connection_lost(exc)

    def forget(self) -> None:
        """Stop waiting: the transport is somebody else's from now on, or gone."""
        self._awaited = None
        for timer in (self._timer, self._reading):
            if timer is not None:
                timer.cancel()
        self._timer = self._reading = None

    # -- the request -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if (self._awaited is None or self._awaited == "next") and self._idle:
            self._await_head()  # be it only the line ends that may stand before a request
        self._head_bytes += len(data)
        super().data_received(data)
        if self._awaited == "head" and self._head_bytes > HEAD_BYTES:
            self._refuse(HeadersTooLarge(f"The headers are over {HEAD_BYTES} bytes"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._awaited != "head":  # a request right behind another
            self._await_head(1)

    def on_headers_complete(self) -> None:
        self._check_host()
        self._awaited = "body"
        self._body_deadline = self.loop.time() + BODY_SECONDS
        self._extend()
        super().on_headers_complete()

    def _check_host(self) -> None:
        """End the parsing of a request that doesn't say in one good Host whom it is for (RFC 9112, section 3.2)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) == 1 and _HOST.fullmatch(hosts[0]):
            return
        assert self.parser is not None
        if hosts or self.parser.get_http_version() != "1.0":
            self._fault = "A request must have one Host header, with a host and, if need be, a port"
            raise ValueError(self._fault)

    def on_body(self, body: bytes) -> None:
        self._extend()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._awaited = None
        self._head_bytes = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self.forget()
        super().handle_websocket_upgrade()

    def _should_upgrade(self) -> bool:
        # uvicorn hands the request on as one of HTTP/1.1, whatever it was (RFC 6455, section 4.2.1).
        assert self.parser is not None
        is_handshake = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1"
        return is_handshake and super()._should_upgrade()

    @property
    def _idle(self) -> bool:
        return cast("Any", self.cycle) is None or self.cycle.response_complete

    def _await_head(self, came: int = 0) -> None:
        self._head_bytes = came
        self._await("head", HEAD_SECONDS)

    def _await(self, what: str, seconds: float) -> None:
        self._awaited = what
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(min(seconds, HEAD_SECONDS), self._check)

    def _extend(self) -> None:
        self._deadline = min(self.loop.time() + SILENT_SECONDS, self._body_deadline)
        if self._timer is None:
            self._timer = self.loop.call_later(SILENT_SECONDS, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._awaited is None or self.transport.is_closing():
            return
        if self._awaited == "body" and self.flow.read_paused:  # the delay is ours
            self._extend()
        elif (left := self._deadline - self.loop.time()) > 0:
            self._timer = self.loop.call_later(min(left, HEAD_SECONDS), self._check)
        elif self._awaited == "next":
            self.timeout_keep_alive_handler()
        else:
            logger().info("request_abandoned", awaited=self._awaited, head_bytes=self._head_bytes)
            said_something = self._head_bytes > 0 or self._awaited == "body"
            self._refuse(RequestLate.of(self._awaited) if said_something else None)

    def send_400_response(self, msg: str) -> None:
        """What came is no request: as uvicorn, which calls this, but never amid an answer."""
        self._refuse(NotHttp(self._fault))

    def _refuse(self, error: HubError | None) -> None:
        """End the connection, with an answer where none has begun."""
        self._awaited = None
        if error is not None and (self._idle or not self.cycle.response_started):
            self.transport.write(refusal(error))
        self.transport.close()
        self.loop.call_later(FORCE_AFTER, self.transport.abort)

    # -- the answer --------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        self._moved += 1
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._moved += 1
        if self.pipeline or self._awaited is not None or self.transport.is_closing():
            super().on_response_complete()
        else:  # as there, but for a timer of its own that waits for the next request
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._await("next", self.timeout_keep_alive)
        self._watch_reading()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _watch_reading(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._reading is None:
            self._reading = self.loop.call_later(SILENT_SECONDS, self._check_reading, unsent, self._moved)

    def _check_reading(self, before: int, moved: int) -> None:
        self._reading = None
        unsent = self.transport.get_write_buffer_size()
        if unsent >= before and moved == self._moved:
            logger().info("answer_abandoned", unsent=unsent)
            self.transport.abort()
        else:
            self._watch_reading()
