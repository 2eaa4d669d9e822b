"""`hub tail`: an SSE stream (WHATWG HTML, section 9.2) read to standard output, taken up again after every loss."""

import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import httpx
import msgspec

from hub.client import Failure, Target, refusal

SILENCE: Final = 45.0
"""Seconds without a byte, three heartbeats, until the connection counts as lost."""
FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 15.0


class Message(NamedTuple):
    """One SSE block; a field that it lacks is None. `retry` is in seconds."""

    id: str | None
    name: str | None
    data: bytes | None
    retry: float | None


Take: TypeAlias = Callable[[str | None, bytes], None]
"""What is done with an event: its cursor (None: it is ephemeral) and its bytes."""


class Feed:
    """The stream over all of its connections. Events are printed, or handed to `take`."""

    def __init__(
        self, hub: Target, topics: Sequence[str], types: Sequence[str], after: str | None, take: Take | None = None
    ) -> None:
        self._hub = hub
        self._take = take or _write
        self._params = httpx.QueryParams({"topic": topics, "type": types, **({"after": after} if after else {})})
        self._last_id: str | None = None
        self._was_connected = False
        self._failures = 0

    def follow(self) -> None:
        """Take events until the process is stopped. Raises Failure when the hub refuses, or never was there."""
        timeout = httpx.Timeout(10.0, read=SILENCE)
        with httpx.Client(timeout=timeout, headers={**self._hub.headers, "accept": "text/event-stream"}) as http:
            while True:
                time.sleep(self._connect(http))

    def _connect(self, http: httpx.Client) -> float:
        """One connection, to its end; the seconds to wait until the next."""
        headers = {} if self._last_id is None else {"last-event-id": self._last_id}
        try:
            with http.stream("GET", self._hub.at("stream"), params=self._params, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    return self._refused(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise Failure(f"{self._hub.url} answered, but not as a hub does: no event stream")
                self._was_connected = True
                return self._print(messages(_lines(response.iter_bytes())))
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            reason = f"{self._hub.url} can't be reached: {str(exc) or type(exc).__name__}"
            if not self._was_connected:
                raise Failure(reason) from None
            return self._later(reason)

    def _print(self, stream: Iterator[Message]) -> float:
        delay = FIRST_DELAY
        for message in stream:
            self._failures = 0
            delay = message.retry or delay
            self._last_id = message.id or self._last_id
            if message.name == "hub.gap" and message.data is not None:
                note(f"events were lost here: {message.data.decode(errors='replace')}")
            elif message.name == "hub.connected" and message.data is not None:
                _note_connected(message.data)
            elif message.data is not None:
                self._take(message.id, message.data)
        note("the stream ended; connecting again")
        return delay

    def _refused(self, response: httpx.Response) -> float:
        failure = refusal(response)
        passing = response.status_code in (429, 503) or (self._was_connected and response.status_code >= 500)
        if not passing:
            raise failure
        asked = response.headers.get("retry-after", "")
        return max(self._later(str(failure)), min(float(asked), LONGEST_DELAY) if asked.isdecimal() else 0)

    def _later(self, reason: str) -> float:
        delay = min(FIRST_DELAY * 2**self._failures, LONGEST_DELAY) * random.uniform(0.5, 1)
        self._failures = min(self._failures + 1, 10)
        note(f"{reason}; trying again in {delay:.1f} s")
        return delay


def messages(lines: Iterable[bytes]) -> Iterator[Message]:
    """The blocks of a stream's lines."""
    block: dict[bytes, bytes] = {}
    for line in lines:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            yield _message(block)
            block = {}
        elif field == b"data" and field in block:
            block[field] += b"\n" + value
        else:
            block[field] = value


def _message(block: dict[bytes, bytes]) -> Message:
    retry = block.get(b"retry", b"")
    seconds = min(int(retry) / 1000, LONGEST_DELAY) if retry.isdigit() else None
    return Message(_text(block.get(b"id")), _text(block.get(b"event")), block.get(b"data"), seconds)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, their ends taken off. Not httpx's: that one also breaks at U+2028 and its like, which JSON may hold."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _write(cursor: str | None, event: bytes) -> None:
    sys.stdout.buffer.write(_line(cursor, event))
    sys.stdout.buffer.flush()


def _line(cursor: str | None, event: bytes) -> bytes:
    """The event byte for byte as the hub holds it, with its cursor beside it; an ephemeral one has none."""
    head = b"" if cursor is None else b'"cursor":%b,' % msgspec.json.encode(cursor)
    return b'{%b"event":%b}\n' % (head, event)


def _note_connected(data: bytes) -> None:
    note("connected")
    recovered = msgspec.json.decode(data, type=dict[str, Any]).get("recovered")
    if recovered is False:
        note("the log no longer holds everything since the cursor; some events were missed")


def note(text: str) -> None:
    print(f"hub: {text}", file=sys.stderr, flush=True)
