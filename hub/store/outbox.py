"""Operational events on their way from the delivery partitions into the log."""

from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from hub.core.event import Event, EventInput, now_text, seal
from hub.store import keys
from hub.store.connect import Link
from hub.store.log import Log
from hub.store.records import delivery_id, parse_ref
from hub.store.wire import Reply

TOPIC: Final = "hub.operational"
_PAGE: Final = 100
_MAX_BYTES: Final = 64 * 1024


FILTER_FAILED: Final = "hub.endpoint.filter_failed"
_MOST: Final = 10_000


class Told(NamedTuple):
    """An operational event about an endpoint, with the event that caused it and why."""

    kind: str
    app: str
    endpoint: str
    event: str
    reason: str


async def tell(link: Link, partition: int, told: Told) -> None:
    """Put an operational event into a delivery partition's outbox, as its scripts do (see delivery.lua)."""
    fields = [item for pair in told._asdict().items() for item in pair]
    await link.call("XADD", keys.outbox(partition), "MAXLEN", "~", _MOST, "*", *fields, "ref", "")


class Outbox:
    """Moves operational events. Each has the id that its place in the outbox stands for: moving twice appends once."""

    def __init__(self, link: Link, log: Log) -> None:
        self._link = link
        self._log = log

    async def move(self, partition: int) -> int:
        """Append what waits in one delivery partition's outbox and remove it there; returns how many events."""
        moved = 0
        while found := await self._link.call("XRANGE", keys.outbox(partition), "-", "+", "COUNT", _PAGE):
            for raw_id, fields in found:
                app, event = _event(partition, raw_id.decode(), fields)
                await self._log.append(app, [event])
            await self._link.call("XDEL", keys.outbox(partition), *(raw_id for raw_id, _ in found))
            moved += len(found)
        return moved


def _event(partition: int, place: str, fields: list[Reply]) -> tuple[str, Event]:
    told = {fields[n].decode(): fields[n + 1].decode() for n in range(0, len(fields), 2)}
    data = {"endpoint": told["endpoint"]}
    if told["ref"]:
        data["delivery"] = delivery_id(parse_ref(told["ref"]), told["endpoint"])
    data |= {name: told[name] for name in ("event", "reason") if told[name]}
    given = EventInput(TOPIC, told["kind"], msgspec.Raw(msgspec.json.encode(data)))
    digest = sha256(f"{partition}\0{place}".encode()).hexdigest()
    timestamp = now_text(int(place.partition("-")[0]))
    return told["app"], seal(given, id=f"evt_{digest[:32]}", timestamp=timestamp, max_bytes=_MAX_BYTES)
