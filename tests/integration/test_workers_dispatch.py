"""A dispatcher on a real store that loses its lease."""

import asyncio

from hub import metrics
from hub.store import keys
from hub.store.audience import Audience
from hub.store.connect import Link
from hub.store.dispatching import Dispatching
from tests.support.store import StoreProcess, linked
from tests.support.waiting import eventually
from tests.support.webhooks import Ground
from workers.dispatch import Dispatcher


async def test_a_reader_whose_lease_another_has_stops_and_goes_on_where_it_was_when_it_has_it_again(
    ground: Ground, link: Link, store: StoreProcess
) -> None:
    ep = await ground.endpoint()
    woken: list[set[int]] = []
    async with linked(store) as reader:
        place = Dispatching(link, 0, "mine")
        dispatcher = Dispatcher(place, reader, Audience(link), ground.queues, lambda owed, _: woken.append(owed))
        task = asyncio.create_task(dispatcher.run())
        first = await ground.append(1)
        await eventually(lambda: woken, "it dispatches")
        await link.call("SET", keys.dispatch_lease(0), "theirs", "PX", 60_000)
        await eventually(lambda: not _held(), "it stops")
        second = await ground.append(1)
        assert (await place.reached())[1] == first[0].position
        await link.call("DEL", keys.dispatch_lease(0))
        await eventually(lambda: len(woken) == 2, "it goes on")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [lease.event for lease in await ground.claim(ep)] == [first[0].id, second[0].id]
    assert await link.call("EXISTS", keys.dispatch_lease(0)) == 0  # it was given back


def _held() -> float:
    (family,) = metrics.DISPATCH_HELD.collect()
    return family.samples[0].value
