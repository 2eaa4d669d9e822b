"""The control stream: what web processes tell each other beside the log. It is short, and read by the same tail.

It carries ephemeral events, which reach live subscribers only (no log, no cursor, no webhook), and notices: something
about an app changed that open connections have to know of. What a notice says must also stand in the store, since a
process that was away doesn't read old ones.
"""

from typing import Any, Final, TypeAlias

import msgspec

from hub.core import cursor as cursors
from hub.core.cursor import START, Position
from hub.core.event import Event
from hub.store import keys
from hub.store.connect import Link
from hub.store.wire import Arg, Reply, StoreError

MAX_LENGTH: Final = 10_000
_EVENT: Final = b"event"


class Ephemeral(msgspec.Struct, frozen=True):
    """An event without a position."""

    app: str
    topic: str
    type: str
    body: bytes


class Notice(msgspec.Struct, frozen=True):
    """A message between processes: its kind decides what `data`, a JSON text, holds."""

    kind: str
    app: str
    data: bytes


ControlItem: TypeAlias = Ephemeral | Notice


class ControlStream(msgspec.Struct, frozen=True):
    """How the stream is: the position of what was added last, how many elements there were ever, and how many are."""

    last: Position = START
    added: int = 0
    length: int = 0


async def send_ephemeral(link: Link, app: str, events: list[Event]) -> None:
    """Send events to every web process, in order."""
    await link.pipeline([_entry("event", app, "t", event.topic, "y", event.type, "e", event.body) for event in events])


async def send_notice(link: Link, kind: str, app: str, data: Any) -> None:
    """Tell every web process; `data` is encoded as JSON."""
    await link.call(*_entry(kind, app, "d", msgspec.json.encode(data)))


async def observe(link: Link) -> ControlStream:
    """How the stream is now."""
    try:
        flat = await link.call("XINFO", "STREAM", keys.CONTROL)
    except StoreError:  # there is none yet
        return ControlStream()
    info = dict(zip(flat[::2], flat[1::2], strict=True))
    return ControlStream(cursors.parse_id(info[b"last-generated-id"]), info[b"entries-added"], info[b"length"])


def parse_item(item: Reply) -> ControlItem:
    """An element of the control stream."""
    _, fields = item
    if fields[1] == _EVENT:
        return Ephemeral(fields[3].decode(), fields[5].decode(), fields[7].decode(), fields[9])
    return Notice(fields[1].decode(), fields[3].decode(), fields[5])


def _entry(kind: str, app: str, *fields: Arg) -> tuple[Arg, ...]:
    return ("XADD", keys.CONTROL, "MAXLEN", "~", MAX_LENGTH, "*", "k", kind, "a", app, *fields)
