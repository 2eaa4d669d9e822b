"""The slots of a worker, and who may take them: slow endpoints together never hold more than half."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from workers.settle import Owner

SLOW: Final = 2.0
"""Seconds: an endpoint that takes longer is slow; so is one that holds slots and hasn't answered for so long."""
_WORST: Final = 5 * SLOW
"""What a longer answer counts as, so that an endpoint that is quick again is soon known for it."""
_WEIGHT: Final = 0.3
_KNOWN: Final = 10_000

_Kind = Literal["quick", "slow", "unknown"]


class _Holding(msgspec.Struct):
    """Slots that an endpoint holds, and when it answered last, or took the first of them."""

    count: int
    heard: float


class Slots:
    """Times are monotonic seconds.

    An endpoint that hasn't answered this worker yet may prove slow, so it counts for that half as well. It begins with
    a few slots, and the last quarter of the half is for such endpoints alone, one slot each, so that slow ones don't
    lock them out. No endpoint holds more than half of all.
    """

    def __init__(self, total: int) -> None:
        self.free = total
        self._half = max(1, total // 2)
        self._for_slow = max(1, total * 3 // 8)
        self._first = max(1, total // 32)
        self._held: dict[Owner, _Holding] = {}
        self._pace: OrderedDict[Owner, float] = OrderedDict()

    def take(self, owners: Sequence[Owner], share: int, now: float) -> list[int | None]:
        """Take up to `share` slots for each; None for one that has to wait although slots are free."""
        held: dict[_Kind, int] = {"quick": 0, "slow": 0, "unknown": 0}
        for owner, holding in self._held.items():
            held[self._kind(owner, now)] += holding.count
        taken: list[int | None] = []
        for owner in owners:
            kind = self._kind(owner, now)
            room = self._room(owner, kind, held["slow"] + held["unknown"])
            if room <= 0 and self.free:
                taken.append(None)
                continue
            count = max(0, min(share, room, self.free))
            held[kind] += count
            self._hold(owner, count, now)
            taken.append(count)
        return taken

    def give(self, owner: Owner, count: int) -> None:
        """Free slots that the endpoint held."""
        if not count:
            return
        self.free += count
        holding = self._held[owner]
        holding.count -= count
        if not holding.count:
            del self._held[owner]

    def answered(self, owner: Owner, seconds: float, now: float) -> None:
        """An attempt took so long, whatever came of it."""
        pace = self._pace.pop(owner, None)
        seconds = min(seconds, _WORST)
        self._pace[owner] = seconds if pace is None else pace + _WEIGHT * (seconds - pace)
        if len(self._pace) > _KNOWN:
            self._pace.popitem(last=False)
        if owner in self._held:
            self._held[owner].heard = now

    def _room(self, owner: Owner, kind: _Kind, not_quick: int) -> int:
        own = self._held[owner].count if owner in self._held else 0
        if kind == "quick":
            return self._half - own
        room = self._for_slow - not_quick
        if kind == "slow":
            return room
        return max(min(self._first - own, room), min(1 - own, self._half - not_quick))

    def _hold(self, owner: Owner, count: int, now: float) -> None:
        if not count:
            return
        self.free -= count
        if owner in self._held:
            self._held[owner].count += count
        else:
            self._held[owner] = _Holding(count, now)

    def _kind(self, owner: Owner, now: float) -> _Kind:
        holding = self._held.get(owner)
        if holding is not None and now - holding.heard > SLOW:
            return "slow"
        pace = self._pace.get(owner)
        if pace is None:
            return "unknown"
        return "quick" if pace <= SLOW else "slow"
