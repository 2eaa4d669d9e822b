"""How an endpoint fares: its windows (see core/tally.py), what it is owed now, and the state of its breaker.

Everything is read from what is kept for it, so the cost doesn't grow with what was delivered.
"""

import time
from typing import Final

import msgspec

from hub.core import breaker, tally
from hub.core import cursor as cursors
from hub.core.event import now_text
from hub.core.tally import Window
from hub.settings import Settings
from hub.store import keys
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.records import Ref
from hub.store.wire import Arg

_PAGE: Final = 200
_MOST_PASSED: Final = 20_000
"""Ended deliveries that one reading passes by on its way to the oldest that is owed."""
_LIFE: Final = 8 * 86400


class Backlog(msgspec.Struct, frozen=True):
    """What is owed now: not tried yet, waiting for a retry, under way, and waiting for their turn (`ordered`)."""

    total: int
    fresh: int
    retrying: int
    in_flight: int
    in_line: int


class EndpointStats(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's figures. `oldest_owed_at` is the event's time of the oldest delivery that dispatch owed it and that
    hasn't ended; None when there is none."""

    endpoint: str
    enabled: bool
    disabled_reason: str | None
    failing_since: str | None
    breaker: breaker.State
    backlog: Backlog
    oldest_owed_at: str | None
    windows: dict[str, Window]


class Figures:
    """The figures of one deployment's endpoints."""

    def __init__(self, link: Link, settings: Settings, endpoints: Endpoints) -> None:
        self._link = link
        self._endpoints = endpoints
        self._partitions = settings.delivery_partitions
        self._log_partitions = settings.partitions

    async def read(self, app: str, endpoint_id: str) -> EndpointStats:
        """Raises NotFound."""
        endpoint = await self._endpoints.get(app, endpoint_id)
        partition = keys.delivery_partition(endpoint_id, self._partitions)
        flat, *lengths = await self._link.pipeline(
            [
                ("HGETALL", keys.figures(partition, endpoint_id)),
                ("LLEN", keys.fresh(partition, endpoint_id)),
                ("ZCARD", keys.retries(partition, endpoint_id)),
                ("ZCARD", keys.leases(partition, endpoint_id)),
                ("ZCARD", keys.waiting(partition, endpoint_id)),
            ]
        )
        held = dict(zip(flat[::2], flat[1::2], strict=True))
        buckets = [tally.bucket(field, raw) for field, raw in held.items() if not field.startswith(b"passed")]
        total = sum(lengths)
        oldest = await self._oldest(partition, endpoint_id, held) if total else None
        return EndpointStats(
            endpoint=endpoint_id,
            enabled=endpoint.enabled,
            disabled_reason=endpoint.disabled_reason,
            failing_since=endpoint.failing_since,
            breaker=endpoint.breaker,
            backlog=Backlog(total, *lengths),
            oldest_owed_at=None if oldest is None else now_text(oldest),
            windows=tally.windows([one for one in buckets if len(one[1]) == tally.SIZE], time.time_ns() // 1_000_000),
        )

    async def _oldest(self, partition: int, endpoint_id: str, held: dict[bytes, bytes]) -> int | None:
        """The time of the oldest event owed. What was passed by once isn't looked at again, so it costs what ended
        since the last time."""
        found: list[int] = []
        for source in range(self._log_partitions):
            field = f"passed{source}"
            known = held.get(field.encode(), b"-").decode()
            passed, oldest = await self._pass_by(partition, endpoint_id, source, known)
            if passed != known:
                name = keys.figures(partition, endpoint_id)
                await self._link.pipeline([("HSET", name, field, passed), ("EXPIRE", name, _LIFE)])
            if oldest is not None:
                found.append(oldest)
        return min(found, default=None)

    async def _pass_by(self, partition: int, endpoint_id: str, source: int, start: str) -> tuple[str, int | None]:
        """Where the first pending delivery from `start` on stands, and its time in ms."""
        index = keys.delivery_index(partition, endpoint_id, source)
        for _ in range(_MOST_PASSED // _PAGE):
            page = [raw.decode() for raw, _ in await self._link.call("XRANGE", index, start, "+", "COUNT", _PAGE)]
            commands: list[tuple[Arg, ...]] = [
                ("HGET", keys.record(partition, str(Ref(source, *cursors.parse_id(one.encode())))), endpoint_id)
                for one in page
            ]
            records = await self._link.pipeline(commands) if commands else []
            for one, record in zip(page, records, strict=True):
                if record is not None and record.startswith(b"p"):
                    return one, cursors.parse_id(one.encode())[0]
            if len(page) < _PAGE:
                return page[-1] if page else start, None
            start = f"({page[-1]}"
        return start, None
