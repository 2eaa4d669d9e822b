"""What passes through an app, counted by each process and added up in the store."""

import asyncio
import contextlib
import time

import msgspec

from hub.core import tally
from hub.store import keys, traffic
from hub.store.connect import Link
from hub.store.traffic import Counter, Rate, Traffic
from tests.support.store import StoreProcess

APP = "acme"


async def read(link: Link, app: str = APP) -> tuple[dict[str, Traffic], Rate]:
    return traffic.parse(await link.call("HGETALL", keys.traffic(app)), time.time_ns() // 1_000_000)


async def test_the_counts_of_several_processes_add_up_by_app(link: Link) -> None:
    one, two = Counter(link), Counter(link)
    one.count(APP, events=3)
    two.count(APP, events=4, attempts=2, succeeded=1)
    two.count("other", exhausted=1)
    for counter in (one, two, one):  # what was added isn't added again
        await counter.flush()
    windows, rate = await read(link)
    assert [(one.events, one.attempts, one.succeeded, one.success_rate) for one in windows.values()] == [
        (7, 2, 1, 0.5)
    ] * 4
    assert round(7 / 600, 2) <= rate.events <= round(7 / 300, 2)
    assert (await read(link, "other"))[0]["total"].exhausted == 1
    assert (await read(link, "nobody"))[0]["total"] == Traffic(
        events=0, attempts=0, succeeded=0, exhausted=0, success_rate=None
    )


async def test_figures_live_for_eight_days_in_few_fields(link: Link) -> None:
    counter, name = Counter(link), keys.traffic(APP)
    for age in range(0, 40 * 288, 144):
        counter.count(APP, events=1)
        await counter.flush()
        bucket = msgspec.msgpack.decode(await link.call("HGET", name, "now"), type=list[int])
        slot = int(time.time() * 1000) // tally.SLOT
        await link.call("HSET", name, "now", msgspec.msgpack.encode([slot - 40 * 288 + age, *bucket[1:]]))
    counter.count(APP, events=1)
    await counter.flush()
    windows, _ = await read(link)
    assert windows["total"].events == 81
    assert windows["1h"].events == 1
    assert 12 <= windows["7d"].events <= 15
    assert await link.call("HLEN", name) <= 1 + 12 + 24 + 7 + 4
    assert 7 * 86400 < await link.call("TTL", name) <= 8 * 86400


async def test_what_a_store_that_is_away_did_not_take_is_added_when_it_is_back(store: StoreProcess, link: Link) -> None:
    counter = Counter(link)
    counter.count(APP, events=1)
    store.kill()
    await counter.flush()
    counter.count(APP, events=1)
    store.start()
    async with asyncio.timeout(20):
        while True:
            await counter.flush()
            with contextlib.suppress(Exception):
                if (await read(link))[0]["total"].events == 2:
                    break
