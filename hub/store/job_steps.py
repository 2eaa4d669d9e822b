"""A job as a worker does it: take one, and go on with it page by page.

What a step did and how far the job has come are written together, and a step is refused whose worker doesn't know how
far it has come. So a job that changes hands at any moment, or is done by two at once, owes each delivery once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, cast

import msgspec

from hub.core import cursor as cursors
from hub.core.cursor import Position
from hub.core.endpoint import DEFAULT_BACKLOG
from hub.store import keys
from hub.store.connect import Link
from hub.store.jobs import Kind, Plan, Stage, begin, end
from hub.store.log import Entry, Log
from hub.store.records import STATUSES, Ref
from hub.store.scripts import script
from hub.store.wire import Arg

HOLD_MS: Final = 2000
"""How long a job is kept from other workers after each of its steps."""
PAUSE_MS: Final = 200
MOST_DUE: Final = 1000
"""A job owes no more while so many retries of the endpoint are due."""
PAGE: Final = 200
_SLICE_BYTES: Final = 1024 * 1024
_LOOK: Final = 1.0
"""Seconds of matching in a step, well within the hold."""
_TURN: Final = 0.02
"""Seconds of matching after which the process's other work gets its turn."""
_LOST: Final = 10
"""Attempts that a delivery may have lost with its workers, at most."""
_TRIES: Final = 5

Outcome: TypeAlias = Literal["ok", "full", "ended", "moved"]
Matches: TypeAlias = Callable[[Entry], bool]


class Taken(NamedTuple):
    """A job to go on with; `cursor` is how far it has come."""

    partition: int
    endpoint: str
    number: int
    kind: Kind
    app: str
    plan: Plan
    cursor: str

    @property
    def stage(self) -> int:
        return int(self.cursor.partition(" ")[0])

    @property
    def position(self) -> Position:
        return cursors.parse_id(self.cursor.partition(" ")[2].encode())

    def at(self, position: Position) -> str:
        """The cursor of this stage at a position."""
        return f"{self.stage} {cursors.format_id(position)}"


class JobSteps:
    """The jobs of one deployment, for workers."""

    def __init__(
        self, link: Link, log: Log, *, partitions: int, retention: int,
        most_due: int = MOST_DUE, hold_ms: int = HOLD_MS,
    ) -> None:  # fmt: skip
        self._link = link
        self._log = log
        self._partitions = partitions
        self._retention = retention
        self._limits: tuple[Arg, ...] = (retention, DEFAULT_BACKLOG, most_due, hold_ms, PAUSE_MS)
        self._hold_ms = hold_ms

    async def waiting(self) -> list[int]:
        """The delivery partitions that have jobs."""
        counts = await self._link.pipeline([("ZCARD", keys.jobs(p)) for p in range(self._partitions)])
        return [partition for partition, count in enumerate(counts) if count]

    async def take(self, partition: int) -> Taken | None:
        """A job of the partition that is due, kept from other workers for a while; None where there is none."""
        member = await self._link.run(script("job_take"), [keys.jobs(partition)], [self._hold_ms])
        if member is None:
            return None
        endpoint, number = member.decode().split("|")
        return await self.read(partition, endpoint, int(number))

    async def read(self, partition: int, endpoint: str, number: int) -> Taken | None:
        """A job as it stands; None when it has ended."""
        key = keys.job(partition, endpoint, number)
        state, kind, app, config, cursor = await self._link.call(
            "HMGET", key, "state", "kind", "app", "config", "cursor"
        )
        if state != b"running":
            await self._link.call("ZREM", keys.jobs(partition), f"{endpoint}|{number}")
            return None
        plan = msgspec.json.decode(config, type=Plan)
        return Taken(partition, endpoint, number, cast("Kind", kind.decode()), app.decode(), plan, cursor.decode())

    async def release(self, job: Taken) -> None:
        """Let others go on with a job."""
        await self._link.call("ZADD", keys.jobs(job.partition), "XX", 0, f"{job.endpoint}|{job.number}")

    async def failed(self, job: Taken, reason: str) -> bool:
        """A step failed, and not because the store is away; after several in a row the job ends. Says if it has."""
        tries = await self._link.call("HINCRBY", keys.job(job.partition, job.endpoint, job.number), "tries", 1)
        if tries < _TRIES:
            return False
        await end(self._link, job.partition, job.endpoint, job.number, self._retention, "failed", reason)
        return True

    # -- replay ------------------------------------------------------------------------------------------------------

    async def replay(self, job: Taken, matches: Matches) -> Outcome:
        """Owe what matches of the log's next page."""
        stage, position = job.plan.stages[job.stage], job.position
        _, _, floor = await self._log.observe(stage.partition)
        gone = 0
        if position < floor:
            low, position = position, min(floor, stage.end)
            gone = await self._known_between(job, stage.partition, low, position)
        page = await self._log.range(stage.partition, position, PAGE) if position < stage.end else []
        inside = [entry for entry in page if entry.position <= stage.end]
        is_over = len(inside) < PAGE
        wanted, looked = await _matching(inside, matches)
        if looked < len(inside):
            is_over, inside = False, inside[:looked]
        kept = _first_bytes(wanted)
        if len(kept) < len(wanted):
            is_over, upto = False, kept[-1].position
        else:
            upto = inside[-1].position if inside else position
        return await self._owe(job, stage, kept, *self._after(job, upto, is_over), gone)

    async def _owe(
        self, job: Taken, stage: Stage, entries: Sequence[Entry], cursor: str, is_end: bool, gone: int
    ) -> Outcome:
        names = self._names(job)
        names.append(keys.origin_index(job.partition, job.endpoint, stage.partition, job.number))
        args = [*self._args(job), cursor, int(is_end), gone, stage.partition]
        for entry in entries:
            ref = str(Ref(stage.partition, *entry.position, job.number))
            names += (keys.record(job.partition, ref), keys.owed_body(job.partition, ref))
            args += (*entry.position, entry.id, entry.app, entry.topic, entry.type, entry.origin, entry.body)
            args.append(job.at(entry.position))
        answer, _ = await self._link.run(script("replay"), names, args)
        return cast("Outcome", answer.decode())

    async def _known_between(self, job: Taken, source: int, low: Position, high: Position) -> int:
        """How many deliveries were owed of events that the log no longer has; of others nobody knows."""
        index = keys.delivery_index(job.partition, job.endpoint, source)
        count, start = 0, f"({cursors.format_id(low)}"
        while page := await self._link.call("XRANGE", index, start, cursors.format_id(high), "COUNT", 1000):
            count += len(page)
            start = f"({page[-1][0].decode()}"
        return count

    # -- recover -----------------------------------------------------------------------------------------------------

    async def recover(self, job: Taken) -> Outcome:
        """Owe anew what failed of the next page of what the endpoint was owed."""
        stage = job.plan.stages[job.stage]
        index = keys.origin_index(job.partition, job.endpoint, stage.partition, stage.origin)
        span = (f"({cursors.format_id(job.position)}", cursors.format_id(stage.end))
        found = await self._link.call("XRANGE", index, *span, "COUNT", PAGE)
        positions = [cursors.parse_id(raw) for raw, _ in found]
        refs = [str(Ref(stage.partition, *position, stage.origin)) for position in positions]
        commands: list[tuple[Arg, ...]] = []
        for ref in refs:
            commands += (("HMGET", keys.record(job.partition, ref), job.endpoint, "i"),
                         ("EXISTS", keys.owed_body(job.partition, ref)))  # fmt: skip
        replies = await self._link.pipeline(commands) if commands else []
        upto = positions[-1] if positions else job.position
        cursor, is_end = self._after(job, upto, len(positions) < PAGE)
        names, args = self._names(job), [*self._args(job), cursor, int(is_end), _LOST]
        for n, (ref, position) in enumerate(zip(refs, positions, strict=True)):
            (record, event_id), has_bytes = replies[2 * n], replies[2 * n + 1]
            status = STATUSES.get("" if record is None else record[:1].decode())
            if status not in ("exhausted", "pending"):
                continue
            body = b""
            if status == "exhausted" and not has_bytes:
                body = await self._log.body(stage.partition, position, event_id.decode()) or b""
            names += (keys.record(job.partition, ref), keys.owed_body(job.partition, ref))
            args += (ref, body, job.at(position))
        answer, _ = await self._link.run(script("recover"), names, args)
        return cast("Outcome", answer.decode())

    # -- inside ------------------------------------------------------------------------------------------------------

    def _after(self, job: Taken, upto: Position, is_over: bool) -> tuple[str, bool]:
        """The cursor behind a page, and whether that is the job's end."""
        if not is_over:
            return job.at(upto), False
        following = job.stage + 1
        return begin(following, job.plan.since), following == len(job.plan.stages)

    def _names(self, job: Taken) -> list[str]:
        return [
            *keys.of_endpoint(job.partition, job.endpoint),
            *keys.of_job(job.partition, job.endpoint, job.number),
        ]

    def _args(self, job: Taken) -> list[Arg]:
        return [job.endpoint, job.number, job.cursor, *self._limits]


async def _matching(entries: Sequence[Entry], matches: Matches) -> tuple[list[Entry], int]:
    """What matches of as many as can be looked at in a step's time, and how many that were; filters take theirs."""
    wanted: list[Entry] = []
    began = turned = time.monotonic()
    for n, entry in enumerate(entries):
        now = time.monotonic()
        if now - began > _LOOK:
            return wanted, n
        if now - turned > _TURN:
            await asyncio.sleep(0)
            turned = time.monotonic()
        if matches(entry):
            wanted.append(entry)
    return wanted, len(entries)


def _first_bytes(entries: Sequence[Entry]) -> Sequence[Entry]:
    """As many as go in one call without holding the store up, at least one."""
    size = 0
    for n, entry in enumerate(entries):
        size += len(entry.body)
        if size > _SLICE_BYTES and n:
            return entries[:n]
    return entries
