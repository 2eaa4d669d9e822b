"""The control stream: what web processes tell each other beside the log. It is short, and read by the same tail.

So far it carries ephemeral events, which reach live subscribers only: no log, no cursor, no webhook.
"""

from typing import Final

import msgspec

from hub.core.event import Event
from hub.store import keys
from hub.store.connect import Link
from hub.store.wire import Reply

MAX_LENGTH: Final = 10_000


class Ephemeral(msgspec.Struct, frozen=True):
    """An event without a position."""

    app: str
    topic: str
    type: str
    body: bytes


async def send_ephemeral(link: Link, app: str, events: list[Event]) -> None:
    """Send events to every web process, in order."""
    await link.pipeline(
        [
            ("XADD", keys.CONTROL, "MAXLEN", "~", MAX_LENGTH, "*",
             "a", app, "t", event.topic, "y", event.type, "e", event.body)
            for event in events
        ]
    )  # fmt: skip


def parse_ephemeral(item: Reply) -> Ephemeral:
    """An element of the control stream."""
    _, fields = item
    return Ephemeral(fields[1].decode(), fields[3].decode(), fields[5].decode(), fields[7])
