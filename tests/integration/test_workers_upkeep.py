"""What workers do beside deliveries, on a real store."""

import asyncio
import time

from hub.store import keys
from hub.store.connect import Link
from hub.store.outbox import Outbox
from tests.support.waiting import eventually
from tests.support.webhooks import Ground
from workers.upkeep import Upkeep

RETENTION = 3600
NODE = 100
"""Entries that the store keeps together, and lets go together."""


async def test_attempts_that_are_too_old_go_also_where_nothing_is_delivered_any_more(
    ground: Ground, link: Link
) -> None:
    names = [keys.attempts(partition) for partition in range(ground.queues.partitions)]
    too_old = int((time.time() - RETENTION - 60) * 1000)
    for name in names:
        ids = [*(f"{too_old}-{n}" for n in range(4 * NODE)), *["*"] * 3 * NODE]
        await link.pipeline([("XADD", name, id, "a", "{}") for id in ids])

    async def trimmed() -> bool:
        lengths = [await link.call("XLEN", name) for name in names]
        assert min(lengths) >= 3 * NODE
        return max(lengths) <= 4 * NODE

    task = asyncio.create_task(Upkeep(link, Outbox(link, ground.log), len(names), RETENTION).run())
    await eventually(trimmed, "the old ones are gone, and no other")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
