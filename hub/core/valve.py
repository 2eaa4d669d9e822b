"""How much may be in progress at once, learnt from how late the event loop runs and how long requests take.

A fixed number would be wrong twice: a hundred requests that wait for a slow disk harm nobody, and ten long listings
hold everybody up. Lateness tells the two apart. But a loop runs late by what it holds in one turn, and what waits for a
busy store is in none: so it also counts how long a request takes where many are in progress, beyond what one takes
where few are. A burst makes both long for a moment; only what stands shows that more comes than can be served (the
criterion of CoDel, RFC 8289, section 3.2).
"""

from typing import Final

NO_LIMIT: Final = 1 << 30
LEAST: Final = 16
"""In progress at once, however late the loop is: that may have another reason than requests."""
_ENOUGH: Final = 4096
"""A limit that has grown so far limits nothing."""
_PERIOD: Final = 0.1
"""Seconds over which is averaged before it is judged."""
_SLOWER: Final = 2.0
"""How much longer than where few are in progress a request may always take."""


class Valve:
    """Counts what is in progress, and closes at `limit`. Times in seconds.

    `lag` is the lateness to hold, and `wait` how long a request may take for those before it (None: as long as it
    likes). `patience` is for how long one of them must have been above before the valve closes at all.
    """

    __slots__ = ("_above_since", "_alone", "_done", "_lag", "_lateness", "_patience", "_progress", "_seen", "_span",
                 "_wait", "busy", "limit")  # fmt: skip

    def __init__(self, lag: float, patience: float, wait: float | None = None) -> None:
        self._lag = lag
        self._wait = wait
        self._patience = patience
        self._alone = 0.0
        """What a request took where few were in progress."""
        self._above_since: float | None = None
        self._seen: float | None = None
        self._span = self._lateness = self._progress = 0.0
        """Of the present period: its length, and the lateness and what was in progress, each times time."""
        self._done = 0
        self.busy = 0
        self.limit = NO_LIMIT

    @property
    def is_full(self) -> bool:
        return self.busy >= self.limit

    def enter(self) -> None:
        self.busy += 1

    def leave(self) -> None:
        self.busy -= 1
        self._done += 1

    def observe(self, lag: float, now: float) -> None:
        """The loop ran `lag` late: cut the limit towards what keeps the targets, or let it grow slowly.

        Under load short turns of the loop come between long ones, so what counts is the lateness that a request meets:
        the average over time, not over turns.
        """
        span = 0.0 if self._seen is None else now - self._seen
        self._seen = now
        self._span += span
        self._lateness += lag * span
        self._progress += self.busy * span
        if self._span >= _PERIOD:
            self._judge(max(self._lateness / self._span / self._lag, self._slowness()), now)
            self._span = self._lateness = self._progress = 0.0
            self._done = 0

    def _slowness(self) -> float:
        """How long requests take, as a multiple of what they may: what is in progress ÷ what leaves (Little's law)."""
        if self._wait is None:
            return 0.0
        took = self._progress / max(self._done, 1)
        if self._progress <= LEAST * self._span:
            if self._done:
                self._alone = took
            return 0.0
        return took / max(self._wait, _SLOWER * self._alone)

    def _judge(self, pressure: float, now: float) -> None:
        if pressure <= 1.0:
            self._above_since = None
            if self.limit != NO_LIMIT:
                grown = self.limit + max(4, self.limit // 4)
                self.limit = grown if grown < _ENOUGH else NO_LIMIT
            return
        if self._above_since is None:
            self._above_since = now
        if now - self._above_since >= self._patience or self.limit != NO_LIMIT:
            share = max(0.5, 1.0 / pressure)
            self.limit = max(LEAST, int(min(self.limit, max(self.busy, LEAST)) * share))
