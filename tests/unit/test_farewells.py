"""Farewells: many are carried out over many ticks, in order, and one that fails keeps nobody waiting."""

import asyncio

from hub.live.farewells import EACH_TICK, Farewells


async def test_a_tick_of_the_loop_carries_out_only_some_of_those_that_came_at_once() -> None:
    farewells, done = Farewells(), list[int]()
    for n in range(3 * EACH_TICK):
        farewells.add(lambda n=n: done.append(n))
    assert done == []
    for ticks in (1, 2, 3):
        await asyncio.sleep(0)
        assert done == list(range(ticks * EACH_TICK))
    await asyncio.sleep(0)
    farewells.add(lambda: done.append(-1))
    await asyncio.sleep(0)
    assert done[-1] == -1


async def test_one_that_fails_is_reported_and_the_next_ones_follow() -> None:
    farewells, done, reported = Farewells(), list[int](), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))

    def fail() -> None:
        raise ValueError("no")

    farewells.add(fail)
    farewells.add(lambda: done.append(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == [1]
    assert reported == ["no"]
