"""What a client was told, held against all that was ever appended: no loss, no duplicate, no disorder.

A record is made of stretches: a place to start from, then the events that came, up to the next `gap` or `recovered:
false`, which begins another one.
"""

from collections.abc import Iterable

from hub.core import cursor as cursors
from hub.core.cursor import Cursor, Position
from hub.core.topics import matches_any


class Event:
    """One that was published. `position` is None while nobody knows whether it was appended; `lost` when the log no
    longer has it, or may not have it.
    """

    def __init__(self, n: int, topic: str, partition: int, position: Position | None) -> None:
        self.n, self.topic, self.partition, self.position = n, topic, partition, position
        self.lost = False


class Stretch:
    """What came between a place to start from (() where that isn't known) and the next break."""

    def __init__(self, start: Cursor) -> None:
        self.start = start
        self.got: list[int] = []


class Record:
    """What came by the subscription to some topics or patterns, in order, and where it would go on."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.patterns = patterns
        self.stretches: list[Stretch] = []
        self.cursor: str | None = None

    def begin(self, cursor: str, *, known: bool = True) -> None:
        """From here on nothing may be missing; `known`: what comes next lies above the cursor."""
        self.stretches.append(Stretch(cursors.decode(cursor) if known else ()))
        self.cursor = cursor

    def began(self, cursor: str, recovered: bool | None) -> None:
        """A subscription was answered."""
        if not self.stretches or recovered is not True:
            self.begin(cursor)

    def event(self, n: int, cursor: str) -> None:
        self.stretches[-1].got.append(n)
        self.cursor = cursor

    def has(self, events: Iterable[int]) -> bool:
        """Whether it has got these; a gap behind them, of another partition perhaps, takes nothing back."""
        return set(events) <= {n for stretch in self.stretches for n in stretch.got}

    # -- the verdict -------------------------------------------------------------------------------------------------

    def check(self, events: list[Event], partitions: int) -> None:
        """Fail where the record disagrees with the log; `events` are all, by their number."""
        for number, stretch in enumerate(self.stretches, 1):
            for partition in range(partitions):
                self._check(stretch, partition, events, is_last=number == len(self.stretches))

    def _check(self, stretch: Stretch, partition: int, events: list[Event], *, is_last: bool) -> None:
        got = [events[n] for n in stretch.got if events[n].partition == partition]
        positions = [event.position for event in got if event.position is not None]
        assert len(positions) == len(got), "what came has a position"
        assert positions == sorted(set(positions)), f"{self.patterns}: out of order, or twice: {positions}"
        begin = next((mark.position for mark in stretch.start if mark.partition == partition), None)
        if begin is None or not (got or is_last):
            return
        end = positions[-1] if positions and not is_last else (2**63, 0)
        owed = [
            event
            for event in events
            if event.partition == partition and event.position is not None and begin < event.position <= end
            and matches_any(self.patterns, event.topic)
        ]  # fmt: skip
        missing = [event.n for event in owed if event not in got and not event.lost]
        assert not missing, f"{self.patterns} from {begin}: {missing} are missing"
        assert not [event.n for event in got if event not in owed], f"{self.patterns}: from before {begin}"
