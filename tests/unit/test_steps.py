"""The steps of a fan-out: of bounded size, and none past a notice."""

from hub.live.steps import STEP_BYTES, STEP_ENTRIES, Events, steps
from hub.live.tail import Batch
from hub.store.control import Ephemeral, Notice
from hub.store.log import Entry


def entry(n: int, size: int = 10) -> Entry:
    return Entry(0, (n, 0), "app", "a.x", "t", f"evt_{n}", "", b"x" * size)


def passing(n: int) -> Ephemeral:
    return Ephemeral("app", "a.x", "t", b"%d" % n)


def test_a_batch_keeps_its_order_whatever_its_steps() -> None:
    entries = [entry(n, size=n * 100) for n in range(1000)]
    made = steps(Batch(entries, []))
    flat = [item for step in made if not isinstance(step, Notice) for item in step]
    assert flat == entries


def test_a_step_is_bounded_by_its_entries_and_by_its_bytes() -> None:
    small = steps(Batch([entry(n) for n in range(2 * STEP_ENTRIES + 1)], []))
    assert [len(step) for step in small if not isinstance(step, Notice)] == [STEP_ENTRIES, STEP_ENTRIES, 1]
    large = steps(Batch([entry(n, STEP_BYTES // 2) for n in range(7)], []))
    assert [len(step) for step in large if not isinstance(step, Notice)] == [3, 3, 1]


def test_what_comes_behind_a_notice_is_another_step() -> None:
    """Its handler may close a connection, which then must not get what was sent after."""
    notice = Notice("test", "app", b"{}")
    before: Events = [entry(1), passing(1)]
    after: Events = [passing(2), passing(3)]
    made = steps(Batch([entry(1)], [passing(1), notice, passing(2), passing(3), notice]))
    assert made == [before, notice, after, notice]
    assert steps(Batch([], [notice, passing(1)])) == [notice, [passing(1)]]
    assert steps(Batch([], [])) == []
