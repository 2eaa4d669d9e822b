"""Which endpoints may take a worker's slots."""

from workers.settle import Owner
from workers.slots import SLOW, Slots


def owners(name: str, count: int) -> list[Owner]:
    return [Owner(0, f"{name}{n}") for n in range(count)]


def known(slots: Slots, all_of: list[Owner], seconds: float, now: float = 0) -> None:
    for owner in all_of:
        slots.answered(owner, seconds, now)


def held(taken: list[int | None]) -> int:
    return sum(one or 0 for one in taken)


def test_quick_endpoints_take_every_slot() -> None:
    slots = Slots(80)
    quick = owners("q", 10)
    known(slots, quick, 0.01)
    assert held(slots.take(quick, 20, 0)) == 80
    assert slots.free == 0
    assert slots.take(quick[:1], 20, 0) == [0]  # nothing is free: it is put back


def test_one_endpoint_holds_no_more_than_half() -> None:
    slots = Slots(80)
    (quick,) = owners("q", 1)
    known(slots, [quick], 0.01)
    assert [held(slots.take([quick], 20, 0)) for _ in range(3)] == [20, 20, 0]
    slots.give(quick, 5)
    assert slots.take([quick], 20, 0) == [5]


def test_slow_endpoints_leave_room_for_quick_ones_and_for_new_ones() -> None:
    slots = Slots(80)
    slow, new, quick = owners("s", 20), owners("n", 20), owners("q", 20)
    known(slots, slow, 5)
    known(slots, quick, 0.01)
    assert held(slots.take(slow, 20, 0)) == 30
    assert slots.take(slow[-1:], 20, 0) == [None]
    assert slots.take(new, 20, 0) == [1] * 10 + [None] * 10
    assert held(slots.take(quick, 20, 0)) == 40


def test_endpoints_that_never_answered_begin_with_a_few_slots_and_hold_half_at_most() -> None:
    slots = Slots(80)
    new = owners("n", 30)
    assert slots.take(new, 20, 0) == [2] * 15 + [1] * 10 + [None] * 5
    (quick,) = owners("q", 1)
    known(slots, [quick, new[0]], 0.01)
    assert slots.take([quick, new[0]], 20, 0) == [20, 20]
    slots.give(quick, 20)
    assert slots.take(new[1:2], 20, SLOW + 1) == [None]  # silent until now: slow


def test_an_endpoint_that_falls_silent_counts_as_slow_and_one_that_answers_quickly_again_does_not() -> None:
    slots = Slots(80)
    one, other = owners("q", 2)
    known(slots, [one, other], 0.01)
    assert held(slots.take([one, other], 35, 0)) == 70
    assert slots.take([one], 20, SLOW + 1) == [None]
    slots.answered(one, 0.01, SLOW + 1)
    assert slots.take([one], 3, SLOW + 1) == [3]
    known(slots, [other], 120, SLOW + 1)  # one answer that took two minutes …
    assert slots.take([other], 3, SLOW + 1) == [None]
    for _ in range(2):
        slots.answered(other, 0.01, SLOW + 1)
    assert slots.take([other], 3, SLOW + 1) == [3]  # … is made up for by two


def test_a_single_slot_is_shared_by_all() -> None:
    slots = Slots(1)
    (slow,) = owners("s", 1)
    known(slots, [slow], 5)
    assert slots.take([slow], 20, 0) == [1]


def test_what_was_freed_leaves_nothing_behind() -> None:
    slots = Slots(80)
    some = owners("q", 5)
    known(slots, some, 0.01)
    for owner, count in zip(some, slots.take(some, 8, 0), strict=True):
        assert count == 8
        slots.give(owner, 3)
        slots.give(owner, 5)
        slots.give(owner, 0)
    assert slots.free == 80
    assert slots.take(some[:1], 100, SLOW * 9) == [40]
