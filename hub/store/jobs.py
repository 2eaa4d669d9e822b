"""Jobs of endpoints as their owners see them: begin a recovery or a replay, watch it, cancel it.

A job is durable: it stands in its endpoint's delivery partition with how far it has come, and any worker takes it on
(see job.lua). `recover` owes anew what failed, `replay` what matched, sent before or not.
"""

import time
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from hub.core.cursor import Position
from hub.core.errors import Conflict, NotFound
from hub.core.event import now_text
from hub.core.span import Span
from hub.settings import Settings
from hub.store import keys
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.log import Log
from hub.store.paging import Slice, Window, page_of
from hub.store.records import TESTS, job_id, parse_job_id
from hub.store.scripts import script
from hub.store.wire import Arg, Reply

Kind: TypeAlias = Literal["recover", "replay"]
MOST_RUNNING: Final = 5
"""Jobs of one endpoint that run at once."""
MOST_KEPT: Final = 50
"""Jobs of one endpoint that are listed; the oldest that have ended give way."""
_LAST_SEQ: Final = 2**64 - 1
_NO_END: Final[Position] = (2**63, 0)


class Stage(NamedTuple):
    """A part of a job: one origin's deliveries of one log partition, or that partition's events, up to `end`."""

    origin: int
    partition: int
    end: Position


class Plan(msgspec.Struct, frozen=True):
    """What a job has to do. Times are in ms."""

    since: int
    until: int
    stages: tuple[Stage, ...]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job of an endpoint. Times are RFC 3339.

    `status` is running, completed, cancelled or failed, and `reason` why it waits or ended. `owed` counts the
    deliveries that it owed, `hastened` those whose next attempt it brought forward, `expired` those that it couldn't
    owe since the event is no longer kept. `progress` runs from 0 to 1.
    """

    id: str
    endpoint: str
    kind: Kind
    status: str
    reason: str | None
    since: str
    until: str
    progress: float
    owed: int
    hastened: int
    expired: int
    created_at: str
    updated_at: str
    ended_at: str | None


class Jobs:
    """The jobs of one deployment."""

    def __init__(self, link: Link, settings: Settings, log: Log, endpoints: Endpoints) -> None:
        self._link = link
        self._log = log
        self._endpoints = endpoints
        self._partitions = settings.delivery_partitions
        self._retention = settings.attempt_retention

    async def start(self, app: str, endpoint_id: str, kind: Kind, span: Span) -> Job:
        """Begin a job. Raises Invalid, NotFound, Conflict (the endpoint is gone, or has too many jobs)."""
        await self._endpoints.get(app, endpoint_id)
        since, until = span.ms(time.time_ns() // 1_000_000)
        partition = self._partition(endpoint_id)
        # Without `until` the log's end is the end, by its own clock: what was answered just before belongs to the span.
        top = _NO_END if span.until is None else (until - 1, _LAST_SEQ)
        stages = await (self._log_stages(top) if kind == "replay" else self._owed_stages(endpoint_id, top))
        plan = msgspec.json.encode(Plan(since, until, stages))
        number = int(await self._link.call("INCR", keys.origins(partition))) + TESTS
        names = [
            keys.jobs(partition),
            keys.job(partition, endpoint_id, number),
            keys.endpoint_jobs(partition, endpoint_id),
            keys.endpoint(partition, endpoint_id),
        ]
        args: list[Arg] = [endpoint_id, number, kind, app, plan, begin(0, since), self._retention]
        answer = await self._link.run(script("job_start"), names, [*args, MOST_RUNNING, MOST_KEPT])
        if answer == b"missing":
            raise NotFound("The endpoint was deleted")
        if answer == b"gone":
            raise Conflict("The endpoint answered 410 and is disabled; enable it first")
        if answer == b"many":
            raise Conflict(f"{MOST_RUNNING} jobs of this endpoint are running; wait for one, or cancel it")
        return await self.get(app, job_id(endpoint_id, number))

    async def get(self, app: str, id: str) -> Job:
        """Raises NotFound."""
        parsed = parse_job_id(id)
        if parsed is not None:
            flat = await self._link.call("HGETALL", keys.job(self._partition(parsed[0]), *parsed))
            fields = _fields(flat)
            if fields.get("app") == app:
                return _view(*parsed, fields)
        raise _missing(id)

    async def of_endpoint(self, app: str, endpoint_id: str, window: Window) -> Slice[Job]:
        """An endpoint's jobs by age. Raises NotFound."""
        await self._endpoints.get(app, endpoint_id)
        partition = self._partition(endpoint_id)
        numbers = sorted(map(int, await self._link.call("ZRANGE", keys.endpoint_jobs(partition, endpoint_id), 0, -1)))

        async def load(ids: list[str]) -> list[Job | None]:
            replies = await self._link.pipeline([("HGETALL", keys.job(partition, endpoint_id, int(n))) for n in ids])
            found = zip(map(int, ids), map(_fields, replies), strict=True)
            return [_view(endpoint_id, number, fields) if "config" in fields else None for number, fields in found]

        return await page_of([f"{number:016d}" for number in numbers], load, window)

    async def cancel(self, app: str, id: str) -> Job:
        """Owe nothing more by a job; what it owed stays owed. Raises NotFound, Conflict (it has ended)."""
        job = await self.get(app, id)
        parsed = parse_job_id(id)
        assert parsed is not None
        answer = await end(self._link, self._partition(job.endpoint), *parsed, self._retention, "cancelled", "")
        if answer != "ok":
            raise Conflict("The job has ended")
        return await self.get(app, id)

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _log_stages(self, top: Position) -> tuple[Stage, ...]:
        """The log as it stands now: what is published from here on is owed by dispatch."""
        return tuple(Stage(0, p, min(end, top)) for p, end in enumerate(await self._ends()))

    async def _owed_stages(self, endpoint_id: str, top: Position) -> tuple[Stage, ...]:
        listed = await self._link.call("ZRANGE", keys.endpoint_jobs(self._partition(endpoint_id), endpoint_id), 0, -1)
        origins, ends = (0, *sorted(map(int, listed))), await self._ends()
        return tuple(Stage(o, p, min(end, top)) for o in origins for p, end in enumerate(ends))

    async def _ends(self) -> list[Position]:
        return [(await self._log.observe(p))[1] for p in range(self._log.partitions)]

    def _partition(self, endpoint_id: str) -> int:
        return keys.delivery_partition(endpoint_id, self._partitions)


def begin(stage: int, since: int) -> str:
    """The cursor of a job before its first, or its next, stage."""
    return f"{stage} {since - 1}-{_LAST_SEQ}" if since else f"{stage} 0-0"


async def end(
    link: Link, partition: int, endpoint_id: str, number: int, retention: int, state: str, reason: str
) -> str:
    """End a job that runs; `ok`, `missing` or `ended`."""
    names = [*keys.of_endpoint(partition, endpoint_id), *keys.of_job(partition, endpoint_id, number)]
    args: list[Arg] = [endpoint_id, number, "", retention, state, reason]
    return (await link.run(script("job_end"), names, args)).decode()


def _fields(flat: Reply) -> dict[str, str]:
    texts = [raw.decode() for raw in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _view(endpoint_id: str, number: int, fields: dict[str, str]) -> Job:
    plan = msgspec.json.decode(fields["config"], type=Plan)
    status = fields["state"]
    return Job(
        id=job_id(endpoint_id, number),
        endpoint=endpoint_id,
        kind="recover" if fields["kind"] == "recover" else "replay",
        status=status,
        reason=fields.get("why") or None,
        since=now_text(plan.since),
        until=now_text(plan.until),
        progress=1.0 if status == "completed" else _progress(plan, fields["cursor"]),
        owed=int(fields.get("owed", 0)),
        hastened=int(fields.get("hastened", 0)),
        expired=int(fields.get("expired", 0)),
        created_at=now_text(int(fields["created"])),
        updated_at=now_text(int(fields["changed"])),
        ended_at=now_text(int(fields["ended"])) if "ended" in fields else None,
    )


def _progress(plan: Plan, cursor: str) -> float:
    """The stages that are done, and of the present one the share of its time."""
    stage, _, position = cursor.partition(" ")
    length = max(1, plan.until - plan.since)
    share = min(1.0, max(0, int(position.partition("-")[0]) - plan.since) / length)
    return round(min(0.999, (int(stage) + share) / max(1, len(plan.stages))), 3)


def _missing(id: str) -> NotFound:
    return NotFound(f"No job {id[:80]!r}")
