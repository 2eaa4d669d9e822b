"""The delivery queues as workers use them: enqueue, reserve, claim, settle, purge. One typed function per script.

What is scheduled is endpoints, not deliveries: a worker reserves an endpoint that is due, claims some of its deliveries
by lease, sends them, and settles how they ended. See delivery.lua for the layout.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from hub.core import breaker, tally
from hub.core import cursor as cursors
from hub.core.cursor import Position
from hub.core.endpoint import DEFAULT_BACKLOG, Config
from hub.core.origin import Origin
from hub.core.origin import parse as parse_origin
from hub.store import keys
from hub.store.attempts import Attempt
from hub.store.connect import Link
from hub.store.log import Entry
from hub.store.records import Standing, parse_standing
from hub.store.scripts import script
from hub.store.wire import Arg, StoreError

SETTLE_BUDGET_MS: Final = 5000
"""What a lease lasts beyond its endpoint's timeout: the time in which an attempt's end can be recorded."""
HOLD_MS: Final = 1000
"""How long a reserved endpoint is kept from other workers until it is claimed."""
_SLICE: Final = 500
_SLICE_BYTES: Final = 1024 * 1024

Verdict: TypeAlias = Literal["ok", "retry", "exhausted", "gone", "drop", "back"]


class StaleReader(Exception):
    """The reader's epoch is older than what was enqueued last: another reader is ahead of it."""


class Owed(NamedTuple):
    """An event and the endpoints of one delivery partition that it is owed to."""

    entry: Entry
    endpoints: Sequence[str]


class Reserved(NamedTuple):
    """Endpoints to claim from, and the ms until the next one is due (None: nothing is scheduled)."""

    endpoints: list[str]
    next_ms: int | None


class Want(NamedTuple):
    """An endpoint to claim up to `most` deliveries of. What more is due waits for at least `later_ms`."""

    endpoint: str
    most: int
    later_ms: int = 0


class Claimed(NamedTuple):
    """Leases of one endpoint, or, with `purge`, entries to cancel because it was deleted or is gone.

    `limited`: the endpoint has a rate limit, so what isn't sent promptly is to be given back.
    """

    purge: bool
    version: str
    entries: list[str]
    limited: bool = False


class Known(NamedTuple):
    """An endpoint's version and configuration; `permit` is the origin that its target has agreed to."""

    version: str
    config: Config
    permit: str | None


class Lease(NamedTuple):
    """A claimed delivery with its event. `standing` and `body` are None where the record or the bytes are gone."""

    token: str
    ref: str
    attempt: int
    generation: int
    event: str
    type: str
    origin: Origin
    standing: Standing | None
    body: bytes | None


class Settlement(NamedTuple):
    """How a lease ended. `attempt` is None where nothing was sent; `due_in_ms` counts for a retry.

    `says` is what it says of the endpoint, for the breaker; `version` the endpoint's by which it was sent.
    """

    token: str
    ref: str
    verdict: Verdict
    due_in_ms: int = 0
    attempt: Attempt | None = None
    says: breaker.Says = ""
    version: str = ""


class Queues:
    """The delivery queues of one deployment."""

    def __init__(
        self,
        link: Link,
        *,
        partitions: int,
        retention: int,
        settle_budget_ms: int = SETTLE_BUDGET_MS,
        policy: breaker.Policy = breaker.POLICY,
    ) -> None:
        self._link = link
        self.partitions = partitions
        self._retention = retention
        self._settle_budget_ms = settle_budget_ms
        self._policy = policy

    def partition_of(self, endpoint_id: str) -> int:
        return keys.delivery_partition(endpoint_id, self.partitions)

    async def enqueue(
        self, partition: int, source: int, epoch: int, end: Position, owed: Sequence[Owed]
    ) -> tuple[int, int]:
        """Owe a batch of log partition `source`, in its order, and note `end` as applied.

        Returns the deliveries enqueued (those that were there already don't count) and the operational events reported.
        Raises StaleReader, LogFull, StoreUnavailable.
        """
        done = reported = 0
        for upto, part in _slices(owed, end):
            names, args = self._enqueue_call(partition, source, epoch, upto, part)
            enqueued, told = await self._link.run(script("enqueue"), names, args)
            if enqueued < 0:
                raise StaleReader
            done, reported = done + enqueued, reported + told
        return done, reported

    def _enqueue_call(
        self, partition: int, source: int, epoch: int, end: Position, owed: Sequence[Owed]
    ) -> tuple[list[str], list[Arg]]:
        endpoints = list(dict.fromkeys(one for item in owed for one in item.endpoints))
        number = {one: n for n, one in enumerate(endpoints, 1)}
        names = [keys.sched(partition), keys.applied(partition), keys.outbox(partition)]
        for one in endpoints:
            names += self._endpoint_keys(partition, one)[:-1]
            names.append(keys.delivery_index(partition, one, source))
        args: list[Arg] = [source, str(epoch), cursors.format_id(end), DEFAULT_BACKLOG, self._retention]
        args += [len(endpoints), *endpoints]
        for entry, wanted in owed:
            ms, seq = entry.position
            ref = f"{source}-{ms}-{seq}"
            names += (keys.record(partition, ref), keys.owed_body(partition, ref))
            numbers = " ".join(str(number[one]) for one in wanted)
            args += (ms, seq, entry.id, entry.app, entry.topic, entry.type, entry.origin, entry.body, numbers)
        return names, args

    async def reserve(self, partition: int, most: int) -> Reserved:
        """Pick up to `most` endpoints that are due. To be called at least twice a second, with 0 if there's no room."""
        names = [keys.sched(partition), keys.tick(partition)]
        reply = await self._link.run(script("reserve"), names, [most, HOLD_MS, self._settle_budget_ms])
        return Reserved([raw.decode() for raw in reply[1:]], None if reply[0] < 0 else int(reply[0]))

    async def claim(
        self, partition: int, wanted: Sequence[Want], default_timeout_ms: int, nonce: str
    ) -> list[Claimed | StoreError | None]:
        """Lease deliveries, per endpoint: None when it no longer exists, an error where its keys can't be used."""
        names = [keys.sched(partition), keys.tick(partition)]
        args: list[Arg] = [self._settle_budget_ms, default_timeout_ms, nonce]
        for one in wanted:
            names += self._endpoint_keys(partition, one.endpoint)
            args += one
        return [_claimed(reply) for reply in await self._link.run(script("claim"), names, args)]

    async def load(self, partition: int, claims: Sequence[tuple[str, Sequence[str]]]) -> list[list[Lease]]:
        """The events and records of claimed leases; per claim the endpoint and its leases."""
        commands: list[tuple[Arg, ...]] = []
        for endpoint_id, tokens in claims:
            for token in tokens:
                ref = token.partition("|")[0]
                commands.append(("HMGET", keys.record(partition, ref), "i", "y", "q", endpoint_id))
                commands.append(("GET", keys.owed_body(partition, ref)))
        replies = iter(await self._link.pipeline(commands) if commands else [])
        return [[_lease(token, next(replies), next(replies)) for token in tokens] for _, tokens in claims]

    async def config(self, partition: int, endpoint_id: str) -> Known | None:
        """An endpoint as it stands, or None when it was deleted."""
        key = keys.endpoint(partition, endpoint_id)
        config, version, permit = await self._link.call("HMGET", key, "config", "version", "permit")
        if config is None:
            return None
        return Known(version.decode(), msgspec.json.decode(config, type=Config), permit.decode() if permit else None)

    async def settle(
        self, partition: int, ended: Sequence[tuple[str, Sequence[Settlement]]]
    ) -> tuple[list[list[bool] | StoreError], int]:
        """Record how leases ended, per endpoint. Returns per endpoint whether each still held, or what is wrong with
        its keys; and the operational events reported."""
        names = [keys.sched(partition), keys.tick(partition), keys.attempts(partition), keys.outbox(partition)]
        args: list[Arg] = [self._retention, *self._policy, tally.SIZE]
        for endpoint_id, settlements in ended:
            names += (*self._endpoint_keys(partition, endpoint_id), keys.figures(partition, endpoint_id))
            args += (endpoint_id, len(settlements))
            for one in settlements:
                names += (keys.record(partition, one.ref), keys.owed_body(partition, one.ref))
                made = one.attempt
                encoded = b"" if made is None else _encode(made)
                counts_as = 0 if made is None else tally.code(made.status, made.error, made.duration_ms)
                args += (one.token, one.verdict, one.due_in_ms, encoded, one.says, counts_as, one.version)
        reported, *results = await self._link.run(script("settle"), names, args)
        return [_error(one) or [bool(held) for held in one] for one in results], reported

    async def purge(self, partition: int, endpoint_id: str, entries: Sequence[str]) -> int:
        """Cancel queued entries of an endpoint that is deleted or gone; returns how many deliveries were cancelled."""
        names = [keys.sched(partition), keys.tick(partition), *self._endpoint_keys(partition, endpoint_id)]
        names.append(keys.figures(partition, endpoint_id))
        for entry in entries:
            ref = entry.split("|")[-3]
            names += (keys.record(partition, ref), keys.owed_body(partition, ref))
        return await self._link.run(script("purge"), names, [endpoint_id, self._retention, tally.SIZE, *entries])

    def _endpoint_keys(self, partition: int, endpoint_id: str) -> list[str]:
        return keys.of_endpoint(partition, endpoint_id)[2:]


def _claimed(reply: list[bytes]) -> Claimed | StoreError | None:
    if not reply:
        return None
    if reply[0] == b"purge":
        return Claimed(True, "", [raw.decode() for raw in reply[1:]])
    return _error(reply) or Claimed(False, reply[1].decode(), [raw.decode() for raw in reply[3:]], reply[2] == b"1")


def _error(reply: list[Any]) -> StoreError | None:
    return StoreError(reply[1].decode(errors="replace")) if reply and reply[0] == b"error" else None


def _lease(token: str, record: list[bytes | None], body: bytes | None) -> Lease:
    ref, attempt, generation, _ = token.split("|")
    event, kind, origin, raw = record
    return Lease(
        token,
        ref,
        int(attempt),
        int(generation),
        (event or b"").decode(),
        (kind or b"").decode(),
        parse_origin((origin or b"").decode()),
        None if raw is None else parse_standing(raw),
        body,
    )


_encode = msgspec.json.Encoder().encode


def _slices(owed: Sequence[Owed], end: Position) -> Iterator[tuple[Position, list[Owed]]]:
    """Cut a batch so that no call holds the store up for long; each part with the position that it completes.

    An event with very many endpoints is cut as well: until its last part, it doesn't count as applied.
    """
    part: list[Owed] = []
    deliveries = size = 0
    for entry, endpoints in owed:
        for start in range(0, len(endpoints), _SLICE):
            some = endpoints[start : start + _SLICE]
            if part and (deliveries + len(some) > _SLICE or size + len(entry.body) > _SLICE_BYTES):
                yield cursors.before(entry.position), part
                part, deliveries, size = [], 0, 0
            part.append(Owed(entry, some))
            deliveries, size = deliveries + len(some), size + len(entry.body)
    yield end, part
