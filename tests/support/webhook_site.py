"""A store, real worker processes and the webhook half of the store, for tests that need no web process."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from hub.store.connect import Link
from hub.store.deliveries import DeliveryDetail
from hub.store.delivery_scan import Filter
from hub.store.paging import Window
from tests.support.hub import Hub, HubProcess
from tests.support.waiting import eventually
from tests.support.webhooks import APP, Ground

SCHEDULE = "0.3,0.6,0.9"


def start(workers: int = 1, concurrency: int = 200, **settings: str) -> Hub:
    """A hub of workers alone, with a short schedule of retries."""
    settings = {"HUB_RETRY_SCHEDULE": SCHEDULE, "HUB_DELIVERY_PARTITIONS": "4", **settings}
    return Hub(web=0, workers=workers, concurrency=concurrency, **settings)


@asynccontextmanager
async def ground_of(hub: Hub) -> AsyncGenerator[Ground]:
    """What a web process would do for its users, on this hub's store; once a worker serves it."""
    link = Link(hub.store.url)
    await link.open(5)
    try:
        await eventually(lambda: all("worker started" in one.log for one in hub.workers), "the workers have started")
        yield Ground(link, HUB_RETRY_SCHEDULE=SCHEDULE)
    finally:
        await link.close()


@asynccontextmanager
async def emptied(hub: Hub) -> AsyncGenerator[Ground]:
    """The same for a test among others: its endpoints go with it."""
    async with ground_of(hub) as opened:
        yield opened
        for one in await opened.endpoints.ids(APP):
            await opened.endpoints.delete(APP, one)


def attempts_logged(worker: HubProcess, **fields: Any) -> list[dict[str, Any]]:
    """The worker's lines of attempts that have these fields."""
    lines = [json.loads(line) for line in worker.log.splitlines() if line.endswith("}")]
    return [line for line in lines if line["event"] == "attempt" and fields.items() <= line.items()]


async def ended(ground: Ground, endpoint_id: str, status: str, seconds: float = 15) -> DeliveryDetail:
    """Wait until the endpoint's one delivery has this status; returns it with its attempts."""

    async def look() -> DeliveryDetail | None:
        page, _, _ = await ground.deliveries.page(
            APP, Filter(endpoint=endpoint_id, status=status), Window(1, descending=True)
        )
        return await ground.deliveries.get(APP, page[0].id) if page else None

    found = await eventually(look, f"the delivery is {status}", seconds)
    assert found is not None
    return found
