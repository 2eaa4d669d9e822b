"""Load shedding: what a web process does when more requests come than it can serve.

What can't be served at once stands in line at the door, which costs no more than a look at its head, and comes in when
something else is done. Who has stood for too long is refused: 503 `OVERLOADED`, with a `Retry-After` that differs from
answer to answer. Refusing costs too, so there is a budget for it. Health and metrics always pass.
"""

import asyncio
import random
import time
from typing import Final, NamedTuple

import httptools

from hub import metrics
from hub.core.errors import Overloaded
from hub.core.event import now_text
from hub.telemetry import logger
from hub.web.exchange import join
from hub.web.http import SECURITY, ErrorBody, encode, now_ms
from hub.web.line import Line

TICK: Final = 0.025
REFUSALS: Final = 60
"""That are answered per tick: 2,400 a second, which leaves most of a core to what is let in."""
LONGEST: Final = 1.0
"""Seconds that a request may stand in line."""
LIVE_LONGEST: Final = 5.0
"""The same for live connections: a browser's EventSource doesn't come back by itself from a refusal."""
WAIT: Final = 2.0
"""How long a request may take for those before it, as a multiple of how late the loop may run."""
SHED_AFTER: Final = 0.5
"""Seconds that the loop must have been late before requests have to wait."""
LIVE_SHED_AFTER: Final = 3.0
"""The same for live connections: when a balancer goes down all come back at once, and each costs but once."""
NEVER_SHED: Final = (b"/health/live", b"/health/ready", b"/metrics")
REFUSED: Final = "refused"
"""In the state of a request that came when the door was full, and that had to be read in full."""
LONGEST_WAIT: Final = 4
"""Seconds in `Retry-After`, at most; at least 1."""
_LIVE: Final = (b"/v1/stream", b"/v1/ws")
_HEAD: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\nretry-after: %d\r\n"
    b"x-request-id: req_%b%08x\r\n%b%b\r\n%b"
)
_SAME: Final = join(SECURITY)


class _Peek:
    """What a read holds, parsed without building a request: headers and bodies call nothing here."""

    __slots__ = ("begun", "complete", "keeps", "parser", "url")

    def __init__(self) -> None:
        self.begun = self.complete = 0
        self.keeps = True
        self.url = b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        self.complete += 1
        self.keeps = self.parser.should_keep_alive()  # which it forgets right after this


class Turned(NamedTuple):
    """Whole requests that wait, and may be refused: how many, whether for a live connection, and whether it goes on."""

    requests: int
    live: bool
    keeps: bool


class Door:
    """One process's admission. `target` is how late its event loop may run, in seconds; None refuses nobody."""

    def __init__(self, target: float | None) -> None:
        self._target = target
        self.requests = Line(target or 1.0, SHED_AFTER, LONGEST, WAIT * (target or 1.0))
        self.connects = Line(target or 1.0, LIVE_SHED_AFTER, LIVE_LONGEST)
        self._refused = {False: 0, True: 0}
        self._cheaply = 0
        self._unlogged = 0
        self._log_at = 0.0
        self._renew()

    def line(self, path: bytes) -> Line | None:
        """What counts a request to this path; None for what always passes."""
        if path in NEVER_SHED:
            return None
        return self.connects if path in _LIVE else self.requests

    def keeps_out(self, data: bytes) -> Turned | None:
        """What has to wait of a read that begins with a request; None where some of it may pass, or be read in full.

        It holds whole requests then, and nothing else.
        """
        if b"rigin: " in data:  # a page's, which only sees an answer with CORS headers: the full way adds them
            return None
        peek = _Peek()
        upgrades = False
        try:
            peek.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            upgrades = True
        except httptools.HttpParserError:
            return None
        finally:
            del peek.parser  # the two hold each other
        whole = peek.complete == peek.begun > 0
        if not whole or b"HEAD /" in data or (peek.complete > 1 and any(path in data for path in NEVER_SHED)):
            return None
        path = peek.url.partition(b"?")[0]
        line = self.line(path)
        if line is None or not line.is_closed:
            return None
        live = line is self.connects
        return Turned(peek.complete, live, keeps=peek.keeps and not upgrades)

    def count(self, count: int, live: bool) -> None:
        """Count what was refused."""
        self._refused[live] += count
        self._unlogged += count

    def answer(self, turned: Turned) -> bytes:
        """The refusals, each with its own `Retry-After` and id."""
        self.count(turned.requests, turned.live)
        self._cheaply += turned.requests
        last = self._one(b"" if turned.keeps else b"connection: close\r\n")
        return b"".join((*(self._one(b"") for _ in range(turned.requests - 1)), last))

    def _one(self, connection: bytes) -> bytes:
        number, prefix = random.getrandbits(32), self._prefix
        wait = 1 + number % LONGEST_WAIT
        return _HEAD % (self._length, wait, prefix, number, _SAME, connection, self._body % (prefix, number))

    def _renew(self) -> None:
        """Write the answer anew, with the time and another prefix of ids."""
        self._prefix = b"%016x" % random.getrandbits(64)
        error = Overloaded.now()
        shown = ErrorBody(error.code, error.message, [], error.mend, f"/docs/errors/{error.code}")
        meta = {"request_id": "req_ID", "timestamp": now_text(now_ms())}
        body = encode({"success": False, "error": shown, "meta": meta}).replace(b"%", b"%%")
        self._body = body.replace(b"req_ID", b"req_%b%08x")
        self._length = len(self._body % (self._prefix, 0))

    async def run(self) -> None:
        """Measure how late the loop is, and do all that needn't be done for each request."""
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.tick(max(0.0, now - due), now)

    def tick(self, lag: float, now: float) -> None:
        """The loop came `lag` late to this."""
        metrics.LOOP_LAG_SECONDS.observe(lag)
        metrics.REQUESTS_IN_PROGRESS.set(self.requests.busy + self.connects.busy)
        if self._target is not None:
            self.requests.observe(lag, now)
            self.connects.observe(lag, now)
        if self._unlogged or self.requests or self.connects:
            self._renew()
            self._tell(lag, now)
        left = int(REFUSALS * (1 + min(lag, 1.0) / TICK))  # a late tick stands for those that it missed
        for line in (self.connects, self.requests):
            line.admit()
            left -= line.turn_away(now, left)

    def _tell(self, lag: float, now: float) -> None:
        for live, count in self._refused.items():
            if count:
                metrics.SHED.labels("connect" if live else "request").inc(count)
                self._refused[live] = 0
        if self._cheaply:
            metrics.ERRORS.labels(Overloaded.code).inc(self._cheaply)
            self._cheaply = 0
        if self._unlogged and now >= self._log_at:
            logger().warning("requests_refused", count=self._unlogged, in_progress=self.requests.busy,
                             connecting=self.connects.busy, in_line=len(self.requests) + len(self.connects),
                             lag_ms=round(lag * 1000))  # fmt: skip
            self._unlogged = 0
            self._log_at = now + 1.0
