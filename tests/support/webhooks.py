"""The webhook half of the store, driven by hand: a test plays dispatcher and worker."""

import base64
from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from msgspec import Raw

from hub.core.breaker import POLICY, Policy, Says
from hub.core.cursor import Position
from hub.core.endpoint import EndpointInput
from hub.core.event import Event, EventInput, seal
from hub.settings import Settings, load
from hub.store.attempts import Attempt
from hub.store.connect import Link
from hub.store.deliveries import Deliveries
from hub.store.delivery_scan import Filter
from hub.store.endpoints import Endpoints
from hub.store.job_steps import JobSteps
from hub.store.jobs import Jobs
from hub.store.log import Entry, Log
from hub.store.paging import Window
from hub.store.queues import Claimed, Lease, Owed, Queues, Settlement, Verdict, Want

APP = "default"
BUDGET_MS = 300


def settings(**variables: str) -> Settings:
    return load(
        {
            "HUB_SECRET_KEY": base64.b64encode(b"k" * 32).decode(),
            "HUB_WEBHOOK_ALLOW_HTTP": "1",
            "HUB_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "HUB_DELIVERY_PARTITIONS": "4",
            **variables,
        }
    )


class Ground:
    """One deployment's store half. The settle budget is short, so that leases run out within a test."""

    def __init__(
        self,
        link: Link,
        *,
        budget_ms: int = BUDGET_MS,
        policy: Policy = POLICY,
        **variables: str,
    ) -> None:
        self.link = link
        self.settings = settings(**variables)
        self.log = Log(link, partitions=self.settings.partitions, retention=3600)
        self.endpoints = Endpoints(link, self.settings, self.log)
        self.deliveries = Deliveries(link, self.settings, self.log, self.endpoints)
        self.queues = Queues(
            link,
            partitions=self.settings.delivery_partitions,
            retention=self.settings.attempt_retention,
            settle_budget_ms=budget_ms,
            policy=policy,
        )
        self.jobs = Jobs(link, self.settings, self.log, self.endpoints)
        self.epoch = 1

    async def endpoint(self, **fields: Any) -> str:
        """Make an endpoint; returns its id."""
        given: dict[str, Any] = {"url": "http://127.0.0.1:9/", **fields}
        made, _ = await self.endpoints.create(APP, EndpointInput(**given))
        return made.id

    async def append(self, count: int = 1, *, topic: str = "orders.42", kind: str = "order.created") -> list[Entry]:
        """Append events to the log; returns its entries."""
        last = (await self.log.observe(0))[1]
        events = [_event(f"evt_{token_hex(8)}", topic, kind) for _ in range(count)]
        await self.log.append(APP, events, "req_test")
        return await self.log.range(0, last, count)

    async def owe(self, endpoints: str | list[str], entries: Sequence[Entry], *, end: Position | None = None) -> int:
        """Enqueue as dispatch does; returns how many deliveries that made."""
        groups: dict[int, list[str]] = {}
        for one in [endpoints] if isinstance(endpoints, str) else endpoints:
            groups.setdefault(self.queues.partition_of(one), []).append(one)
        done = 0
        for partition, group in groups.items():
            owed = [Owed(entry, group) for entry in entries]
            done += (await self.queues.enqueue(partition, 0, self.epoch, end or entries[-1].position, owed))[0]
        return done

    async def reserve(self, endpoint_id: str, most: int = 10) -> list[str]:
        return (await self.queues.reserve(self.queues.partition_of(endpoint_id), most)).endpoints

    async def claim(
        self, endpoint_id: str, most: int = 100, *, timeout_ms: int = 60_000, nonce: str = "nonce"
    ) -> list[Lease]:
        """Claim and load; the endpoint must exist and not be dying."""
        partition = self.queues.partition_of(endpoint_id)
        (claimed,) = await self.queues.claim(partition, [Want(endpoint_id, most)], timeout_ms, nonce)
        assert isinstance(claimed, Claimed)
        assert not claimed.purge
        return (await self.queues.load(partition, [(endpoint_id, claimed.entries)]))[0]

    async def settle(
        self,
        endpoint_id: str,
        leases: Sequence[Lease],
        verdict: Verdict,
        *,
        due_in_ms: int = 0,
        says: Says | None = None,
        version: str = "",
    ) -> list[bool]:
        """Settle as a worker does. `drop` and `back` record no attempt; what fails says that the endpoint is down.
        `version` is the endpoint's by which it was sent, where that matters."""
        if verdict in ("drop", "back"):
            settlements = [Settlement(lease.token, lease.ref, verdict) for lease in leases]
        else:
            heard = says or ("ok" if verdict == "ok" else "down")
            settlements = [
                Settlement(lease.token, lease.ref, verdict, due_in_ms, attempt(lease.attempt, verdict), heard, version)
                for lease in leases
            ]
        (held,), _ = await self.queues.settle(self.queues.partition_of(endpoint_id), [(endpoint_id, settlements)])
        assert isinstance(held, list)
        return held

    async def purge(self, endpoint_id: str) -> int:
        """One slice, as a worker does it: how many deliveries were cancelled, 0 when the endpoint is removed."""
        partition = self.queues.partition_of(endpoint_id)
        (claimed,) = await self.queues.claim(partition, [Want(endpoint_id, 10)], 1000, "nonce")
        if claimed is None:
            return 0
        assert isinstance(claimed, Claimed)
        if not claimed.entries:
            return 0
        assert claimed.purge
        return await self.queues.purge(partition, endpoint_id, claimed.entries)

    def steps(self, **limits: int) -> JobSteps:
        """The jobs as a worker does them."""
        retention = self.settings.attempt_retention
        return JobSteps(
            self.link, self.log, partitions=self.settings.delivery_partitions, retention=retention, **limits
        )

    async def statuses(self, **wanted: Any) -> list[str]:
        """The statuses of the app's deliveries, newest first."""
        return [
            one.status for one in (await self.deliveries.page(APP, Filter(**wanted), Window(500, descending=True)))[0]
        ]


def attempt(number: int, verdict: Verdict) -> Attempt:
    ok = verdict == "ok"
    return Attempt(number=number, at="2026-01-31T08:00:00.000Z", duration_ms=5, status=200 if ok else 500,
                   error=None if ok else "status")  # fmt: skip


def _event(id: str, topic: str, kind: str) -> Event:
    return seal(EventInput(topic, kind, Raw(b"{}")), id=id, timestamp="2026-01-31T08:00:00Z", max_bytes=10_000)
