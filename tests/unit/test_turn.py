"""The turn: a fan-out has it alone, the others share it, and neither line keeps the other one out."""

import asyncio
import itertools

import pytest

from hub.live.turn import OTHERS_BETWEEN, Turn


async def other(turn: Turn, name: str, went: list[str]) -> None:
    async with turn.take():
        went.append(name)


async def ticks(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_whoever_asks_while_it_is_held_goes_when_it_is_free_in_the_order_of_asking() -> None:
    turn, went = Turn(), list[str]()
    async with turn.fan_out():
        tasks = [asyncio.create_task(other(turn, name, went)) for name in "abc"]
        await ticks()
        assert went == []
    await asyncio.gather(*tasks)
    assert went == ["a", "b", "c"]


async def test_a_turn_that_nobody_holds_is_taken_at_once() -> None:
    turn, went = Turn(), list[str]()
    await other(turn, "a", went)
    async with turn.fan_out():
        went.append("fan-out")
    await other(turn, "b", went)
    assert went == ["a", "fan-out", "b"]


async def test_a_fan_out_waits_for_a_few_of_thousands_and_they_go_on_between_two_of_it() -> None:
    turn, went = Turn(), list[str]()

    async def fan_out(times: int) -> None:
        for _ in range(times):
            async with turn.fan_out():
                went.append("fan-out")
                await asyncio.sleep(0)

    async with turn.fan_out():
        tasks = [asyncio.create_task(other(turn, "join", went)) for _ in range(1000)]
        await ticks()
    await asyncio.gather(fan_out(10), *tasks)
    places = [n for n, name in enumerate(went) if name == "fan-out"]
    assert len(went) == 1010
    assert places[0] == 2 * OTHERS_BETWEEN  # the first of them before it asked
    assert all(after - before == OTHERS_BETWEEN + 1 for before, after in itertools.pairwise(places))


async def test_all_who_are_let_go_between_two_fan_outs_go_in_one_tick() -> None:
    """So an event waits for their steps, not for as many rounds of a busy loop."""
    turn, went = Turn(), list[str]()
    async with turn.fan_out():
        tasks = [asyncio.create_task(other(turn, "join", went)) for _ in range(100)]
        await ticks()
    async with turn.fan_out():
        assert len(went) == OTHERS_BETWEEN
    assert len(went) == OTHERS_BETWEEN
    await asyncio.sleep(0)
    assert len(went) == 2 * OTHERS_BETWEEN
    await asyncio.gather(*tasks)


async def test_those_who_share_the_turn_do_not_wait_for_each_other_and_a_fan_out_waits_for_them() -> None:
    turn, went = Turn(), list[str]()

    async def fan_out() -> None:
        async with turn.fan_out():
            went.append("fan-out")

    async with turn.take():
        await other(turn, "a", went)
        fan = asyncio.create_task(fan_out())
        await ticks()
        assert went == ["a"]
        late = asyncio.create_task(other(turn, "late", went))  # behind the fan-out that waits
        await ticks()
        assert went == ["a"]
    await asyncio.gather(fan, late)
    assert went == ["a", "fan-out", "late"]


@pytest.mark.parametrize("granted", [False, True])
async def test_one_that_gives_up_keeps_nobody_out(granted: bool) -> None:
    """It is cancelled while it waits, or in the tick in which it got the turn."""
    turn, went = Turn(), list[str]()
    async with turn.fan_out():
        quitter = asyncio.create_task(other(turn, "quitter", went))
        patient = asyncio.create_task(other(turn, "patient", went))
        await ticks()
        if not granted:
            quitter.cancel()
            await ticks()
    if granted:
        quitter.cancel()
    await asyncio.wait_for(asyncio.gather(quitter, patient, return_exceptions=True), 5)
    assert went == ["patient"]
    await asyncio.wait_for(other(turn, "later", went), 5)
    async with turn.fan_out():
        assert went == ["patient", "later"]


@pytest.mark.parametrize("granted", [False, True])
async def test_a_fan_out_that_gives_up_keeps_nobody_out(granted: bool) -> None:
    turn, went = Turn(), list[str]()

    async def fan_out() -> None:
        async with turn.fan_out():
            went.append("fan-out")

    async with turn.take():
        quitter = asyncio.create_task(fan_out())
        await ticks()
        if not granted:
            quitter.cancel()
            await ticks()
    if granted:
        quitter.cancel()
    await asyncio.wait_for(asyncio.gather(quitter, return_exceptions=True), 5)
    await asyncio.wait_for(other(turn, "later", went), 5)
    assert went == ["later"]
