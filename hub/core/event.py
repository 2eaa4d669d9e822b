"""Events: what a publisher may send, and the envelope that is built once and carried verbatim from then on."""

import itertools
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from hub.core import origin, topics
from hub.core.decoding import from_msgspec
from hub.core.errors import Detail, Invalid, InvalidJson, PayloadTooLarge

MAX_BATCH: Final = 1000
PREFIXES: Final = tuple(f"[{index}]." for index in range(MAX_BATCH))
"""How the fields of a batch's events are named in errors."""
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 64
_LOW_61: Final = (1 << 61) - 1
"""What is drawn of the last 62 bits; the first of them is left to the counting."""
_ID = re.compile(r"[!-~]{1,255}")
_EXTENSION = re.compile(r"[a-z0-9]{1,20}")
_ATTRIBUTES = frozenset(("id", "type", "source", "subject", "time", "timestamp", "topic", "data", "dataschema",
                         "datacontenttype", "specversion"))  # fmt: skip
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')  # possessive: backtracking would keep 100 bytes for each byte
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


class EventInput(msgspec.Struct, forbid_unknown_fields=True):
    """One event as a publisher sends it. `data` is any JSON value and is not decoded."""

    topic: str
    type: str
    data: msgspec.Raw
    id: str | None = None
    timestamp: str | None = None
    source: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    ephemeral: bool = False
    extensions: dict[str, str | int | bool] | None = None


class Event(msgspec.Struct, frozen=True):
    """An accepted event: its address and the envelope's bytes, which no later step changes."""

    id: str
    topic: str
    type: str
    timestamp: str
    body: bytes
    ephemeral: bool = False
    traceparent: str | None = None
    """The trace that the event itself names, by its extension."""


class _Envelope(msgspec.Struct, omit_defaults=True):
    id: str
    type: str
    topic: str
    timestamp: str
    data: msgspec.Raw
    source: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] | None = None


_one = msgspec.json.Decoder(EventInput)
_many = msgspec.json.Decoder(list[EventInput])
_encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> tuple[list[EventInput], bool]:
    """Decode a publish request: the events, and whether it was a batch. Raises Invalid, PayloadTooLarge."""
    if len(body) > MAX_BATCH_BYTES:
        raise PayloadTooLarge(f"The body has {len(body)} bytes; allowed are {MAX_BATCH_BYTES}")
    check_text(body)
    is_batch = body.lstrip()[:1] == b"["
    try:
        items = _many.decode(body) if is_batch else [_one.decode(body)]
    except msgspec.MsgspecError as exc:
        raise from_msgspec(exc) from None
    except RecursionError:
        raise _too_deep("body") from None
    if not items:
        raise Invalid.field("body", "the batch is empty; allowed are 1 to 1000 events")
    if len(items) > MAX_BATCH:
        raise PayloadTooLarge(f"The batch has {len(items)} events; allowed are {MAX_BATCH}")
    return items, is_batch


def check_text(body: bytes) -> None:
    """Raise InvalidJson unless the bytes are UTF-8 (RFC 8259, section 8.1); a payload is passed on as it came."""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        message = f"byte {exc.start} is not UTF-8"
        raise InvalidJson(f"The body is not valid JSON: {message}", (Detail("body", message),)) from None


def build(item: EventInput, *, id: str, now_ms: int, max_bytes: int, prefix: str = "") -> Event:
    """Check one event and build its envelope. `prefix` names a batch's item in errors: `[3].`."""
    topics.check_publishable(item.topic, item.type, prefix)
    if not _ID.fullmatch(id):
        raise Invalid.field(f"{prefix}id", "must be 1 to 255 visible ASCII characters")
    if item.extensions:
        _check_extensions(item.extensions, f"{prefix}extensions")
    timestamp = now_text(now_ms) if item.timestamp is None else _check_timestamp(item.timestamp, f"{prefix}timestamp")
    event = seal(item, id=id, timestamp=timestamp, max_bytes=max_bytes, prefix=prefix)
    # After the size, which bounds its work. It can't be deeper than it has brackets; strings only add to them.
    if event.body.count(b"[") + event.body.count(b"{") > MAX_DEPTH:
        _check_depth(bytes(item.data), f"{prefix}data")
    return event


def seal(item: EventInput, *, id: str, timestamp: str, max_bytes: int, prefix: str = "") -> Event:
    """Build the envelope of an event that was checked, or that the hub itself made."""
    # JSON allows line breaks only between tokens: dropping them changes nothing, and one line can't break SSE framing.
    data, raw = item.data, bytes(item.data)
    if b"\n" in raw or b"\r" in raw:
        data = msgspec.Raw(raw.translate(None, b"\r\n"))
    body = _encode(
        _Envelope(
            id, item.type, item.topic, timestamp, data, item.source, item.subject, item.dataschema, item.extensions
        )
    )
    if len(body) > max_bytes:
        where = prefix.rstrip(".") or "event"
        raise PayloadTooLarge(
            f"{where} has {len(body)} bytes; allowed are {max_bytes}",
            (Detail(where, f"has {len(body)} bytes; allowed are {max_bytes}"),),
        )
    carried = None if item.extensions is None else origin.check_traceparent(item.extensions.get(origin.EXTENSION))
    return Event(id, item.topic, item.type, timestamp, body, item.ephemeral, carried)


def new_ids(now_ms: int) -> Iterator[str]:
    """Fresh event ids without end: `evt_` and a UUIDv7 (RFC 9562, section 5.7), so ids sort by time.

    The first is drawn, and each further one counts on from there (section 6.2), so a batch's sort in its order too.
    """
    # Once per event, so without uuid.uuid4 and its call of the system: an id must be unique, not secret.
    bits = random.getrandbits(74)
    head = f"evt_{now_ms:012x}{0x7000 | bits >> 62:04x}"
    return map((head + "{:016x}").format, itertools.count(0x2 << 62 | bits & _LOW_61))


def new_id(now_ms: int) -> str:
    """One such id."""
    bits = random.getrandbits(74)
    return f"evt_{now_ms:012x}{0x7000 | bits >> 62:04x}{0x2 << 62 | bits & _LOW_61:016x}"


def derived_ids(app: str, idempotency_key: str) -> Iterator[str]:
    """The ids that an Idempotency-Key stands for, so that a retry after a crash appends nothing twice."""
    for index in itertools.count():
        digest = sha256(f"{app}\0{idempotency_key}\0{index}".encode()).hexdigest()
        yield f"evt_{digest[:32]}"


@lru_cache(maxsize=64)  # a batch's events and its answer share theirs
def now_text(now_ms: int) -> str:
    """A time as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check_extensions(extensions: dict[str, str | int | bool], field: str) -> None:
    """As CloudEvents 1.0 has them, section "Extension Context Attributes"."""
    for name, value in extensions.items():
        if not _EXTENSION.fullmatch(name) or name in _ATTRIBUTES:
            raise Invalid.field(
                f"{field}.{name[:80]}",
                "must be 1 to 20 lower-case letters or digits, and no attribute that an event has",
            )
        if not isinstance(value, str) and not -(2**31) <= value < 2**31:
            raise Invalid.field(f"{field}.{name}", "is not a number of 32 bits")


def _check_timestamp(value: str, field: str) -> str:
    try:
        if not _RFC3339.fullmatch(value):
            raise ValueError
        datetime.fromisoformat(value.upper())
    except ValueError:
        raise Invalid.field(field, f"{value[:80]!r} is not an RFC 3339 time such as 2026-01-31T08:00:00Z") from None
    return value


def _check_depth(raw: bytes, field: str) -> None:
    brackets = _STRINGS.sub(b"", raw).translate(_ALIKE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # takes off the innermost level, exactly one
    if brackets:
        raise _too_deep(field)


def _too_deep(field: str) -> Invalid:
    return Invalid.field(field, f"is nested too deep; allowed are {MAX_DEPTH} levels")
