"""Deliveries as users see them: look up, list, retry by hand, cancel."""

from collections.abc import Sequence
from typing import Final

import msgspec

from hub.core import cursor as cursors
from hub.core import tally
from hub.core.errors import Conflict, NotFound, PayloadExpired
from hub.core.event import now_text
from hub.core.retry import MAX_ATTEMPTS
from hub.settings import Settings
from hub.store import attempts, keys
from hub.store.attempts import Attempt
from hub.store.connect import Link
from hub.store.delivery_scan import Filter, Listed, Merge, Owner, Place, Start
from hub.store.endpoints import Endpoints, ring
from hub.store.log import Log
from hub.store.paging import Edge, Slice, Window, cut
from hub.store.records import (
    TESTS,
    Ref,
    Standing,
    delivery_id,
    is_endpoint_id,
    job_id,
    parse_delivery_id,
    parse_standing,
)
from hub.store.scripts import script
from hub.store.wire import Arg, Reply

SCAN_BUDGET: Final = 5000
"""Deliveries that one listing may look at; its cursor goes on from there."""
_MOST_ATTEMPTS: Final = MAX_ATTEMPTS + 10
"""Of one run of the schedule, those included that were lost with their worker."""
_FIELDS: Final = ("i", "a", "t", "y")


class EventRef(msgspec.Struct, frozen=True):
    """The event that is delivered."""

    id: str
    type: str
    topic: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event owed to one endpoint. Times are RFC 3339.

    `status` is pending, succeeded, exhausted or cancelled; `next_attempt_at` is set while it is pending, `ended_at`
    after; `attempt_count` is the number of the last attempt that was recorded. `origin` is None where the event matched
    when it was published, `test`, or the id of the job that replays it.
    """

    id: str
    endpoint: str
    event: EventRef
    origin: str | None
    status: str
    attempt_count: int
    created_at: str
    next_attempt_at: str | None
    ended_at: str | None


class DeliveryDetail(Delivery, frozen=True, kw_only=True):
    """A delivery with its attempts, oldest first."""

    attempts: list[Attempt]


class Deliveries:
    """The deliveries of one deployment."""

    def __init__(self, link: Link, settings: Settings, log: Log, endpoints: Endpoints) -> None:
        self._link = link
        self._log = log
        self._endpoints = endpoints
        self._partitions = settings.delivery_partitions
        self._retention = settings.attempt_retention

    async def get(self, app: str, id: str) -> DeliveryDetail:
        """A delivery with its attempts, or NotFound."""
        ref, endpoint_id, found, standing = await self._find(app, id)
        made = await attempts.read(self._link, self._partition(endpoint_id), standing.history)
        return DeliveryDetail(**msgspec.structs.asdict(_view(ref, endpoint_id, found, standing)), attempts=made)

    async def page(self, app: str, wanted: Filter, window: Window) -> Slice[Delivery]:
        """Deliveries by their events' age.

        At most SCAN_BUDGET deliveries are looked at, so a page may be short, even empty, and still be gone on from.
        """
        scan = await self._scan(app, wanted, window)
        found: list[Delivery] = []
        last, more, looked = None, True, 0
        while more and len(found) < window.limit and looked < SCAN_BUDGET:
            places = await scan.take(window.limit)
            more = bool(places)
            for n, (place, delivery) in enumerate(zip(places, await self._read(app, places), strict=True), 1):
                last, looked = place, looked + 1
                if delivery is not None and wanted.status in (None, delivery.status):
                    found.append(delivery)
                if len(found) == window.limit:
                    more = n < len(places) or bool(await scan.take(1))
                    break
        return cut(window, found, Edge(delivery_id(last.ref, last.endpoint)) if more and last is not None else None)

    async def retry(self, app: str, id: str) -> Delivery:
        """Owe an ended delivery once more. Raises NotFound, Conflict (it is pending), PayloadExpired, LogFull."""
        ref, endpoint_id, found, _ = await self._find(app, id)
        partition = self._partition(endpoint_id)
        names = [keys.sched(partition), keys.endpoint(partition, endpoint_id), keys.retries(partition, endpoint_id)]
        names += (keys.record(partition, str(ref)), keys.owed_body(partition, str(ref)))
        answer = await self._link.run(script("retry"), names, [endpoint_id, str(ref), ""])
        if answer == b"expired" and (body := await self._log.body(ref.partition, ref.position, found[0])):
            answer = await self._link.run(script("retry"), names, [endpoint_id, str(ref), body])
        if answer == b"expired":
            raise PayloadExpired("The event's bytes are no longer kept, so it can't be sent again")
        if answer == b"missing":
            raise NotFound("The delivery's endpoint was deleted")
        if answer == b"pending":
            raise Conflict("The delivery is still pending; its next attempt is under way or planned")
        if answer == b"gone":
            raise Conflict("The endpoint answered 410 and is disabled; enable it first")
        await ring(self._link, partition)
        return await self._one(app, id)

    async def cancel(self, app: str, id: str) -> Delivery:
        """Cancel a pending delivery; an attempt under way may still arrive. Raises NotFound, Conflict (it ended)."""
        ref, endpoint_id, _, _ = await self._find(app, id)
        partition = self._partition(endpoint_id)
        names = [keys.sched(partition), keys.retries(partition, endpoint_id), keys.heads(partition, endpoint_id)]
        names += (keys.record(partition, str(ref)), keys.owed_body(partition, str(ref)))
        names.append(keys.figures(partition, endpoint_id))
        args: list[Arg] = [endpoint_id, str(ref), self._retention, _MOST_ATTEMPTS, tally.SIZE]
        answer = await self._link.run(script("cancel"), names, args)
        if answer == b"missing":
            raise _missing(id)
        if answer == b"ended":
            raise Conflict("The delivery has ended; only a pending one can be cancelled")
        return await self._one(app, id)

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _one(self, app: str, id: str) -> Delivery:
        ref, endpoint_id, found, standing = await self._find(app, id)
        return _view(ref, endpoint_id, found, standing)

    async def _find(self, app: str, id: str) -> tuple[Ref, str, list[str], Standing]:
        parsed = parse_delivery_id(id)
        if parsed is None:
            raise _missing(id)
        ref, endpoint_id = parsed
        key = keys.record(self._partition(endpoint_id), str(ref))
        *found, raw = await self._link.call("HMGET", key, *_FIELDS, endpoint_id)
        if raw is None or found[1] is None or found[1].decode() != app:
            raise _missing(id)
        return ref, endpoint_id, [field.decode() for field in found], parse_standing(raw)

    async def _owners(self, app: str, endpoint_id: str | None) -> list[Owner]:
        if endpoint_id is None:
            ids = await self._endpoints.ids(app)
        else:
            ids = [endpoint_id] if is_endpoint_id(endpoint_id) else []
        placed = [(one, self._partition(one)) for one in ids]
        commands: list[tuple[Arg, ...]] = [("ZRANGE", keys.endpoint_jobs(p, one), 0, -1) for one, p in placed]
        numbers = await self._link.pipeline(commands) if commands else []
        return [Owner(*one, (0, TESTS, *map(int, found))) for one, found in zip(placed, numbers, strict=True)]

    async def _scan(self, app: str, wanted: Filter, window: Window) -> Listed | Merge:
        edge = window.edge
        place = None if edge is None else _place_of(edge.id)
        start = Start(place, edge is not None and edge.inclusive, window.downward)
        owners = await self._owners(app, wanted.endpoint)
        if wanted.event is not None:
            return await self._of_event(app, wanted, owners, start)
        return Merge(self._link, owners, self._log.partitions, wanted, start)

    async def _of_event(self, app: str, wanted: Filter, owners: Sequence[Owner], start: Start) -> Listed:
        places: list[Place] = []
        for p in range(self._log.partitions):
            for line in await self._link.call("HVALS", keys.seen(p, app, wanted.event or "")):
                ms, seq = cursors.parse_id(line.split(b" ")[0])
                if wanted.is_within(ms):
                    places += [Place(ms, seq, p, one.endpoint, origin) for one in owners for origin in one.origins]
        return Listed(places, start)

    async def _read(self, app: str, places: Sequence[Place]) -> list[Delivery | None]:
        replies = await self._link.pipeline(
            [
                ("HMGET", keys.record(self._partition(one.endpoint), str(one.ref)), *_FIELDS, one.endpoint)
                for one in places
            ]
        )
        return [_listed(app, place, reply) for place, reply in zip(places, replies, strict=True)]

    def _partition(self, endpoint_id: str) -> int:
        return keys.delivery_partition(endpoint_id, self._partitions)


def _place_of(id: str) -> Place | None:
    parsed = parse_delivery_id(id)
    return None if parsed is None else Place(*parsed[0].position, parsed[0].partition, parsed[1], parsed[0].origin)


def _listed(app: str, place: Place, reply: Reply) -> Delivery | None:
    """None for what is in an index, or could be, but has no record (any more)."""
    *found, raw = reply
    if raw is None or found[1] is None or found[1].decode() != app:
        return None
    return _view(place.ref, place.endpoint, [field.decode() for field in found], parse_standing(raw))


def _view(ref: Ref, endpoint_id: str, found: list[str], standing: Standing) -> Delivery:
    event_id, _, topic, kind = found
    is_pending = standing.status == "pending"
    return Delivery(
        id=delivery_id(ref, endpoint_id),
        endpoint=endpoint_id,
        event=EventRef(event_id, kind, topic),
        origin=_origin(endpoint_id, ref.origin),
        status=standing.status,
        attempt_count=standing.attempts,
        created_at=now_text(ref.ms),
        next_attempt_at=now_text(standing.at) if is_pending else None,
        ended_at=None if is_pending else now_text(standing.at),
    )


def _origin(endpoint_id: str, number: int) -> str | None:
    if number <= TESTS:
        return "test" if number else None
    return job_id(endpoint_id, number)


def _missing(id: str) -> NotFound:
    return NotFound(f"No delivery {id[:80]!r}")
