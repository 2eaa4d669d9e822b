"""How much may be in progress at once, learnt from how late the event loop runs.

A fixed number would be wrong twice: a hundred requests that wait for a slow disk harm nobody, and ten long listings
hold everybody up. Lateness tells the two apart. A burst makes the loop late for a moment; only lateness that stands
shows that more comes than can be served (the criterion of CoDel, RFC 8289, section 3.2).
"""

from typing import Final

NO_LIMIT: Final = 1 << 30
LEAST: Final = 16
"""In progress at once, however late the loop is: that may have another reason than requests."""
_ENOUGH: Final = 4096
"""A limit that has grown so far limits nothing."""
_SAMPLES: Final = 3


class Valve:
    """Counts what is in progress, and closes at `limit`. Times in seconds.

    `target` is the lateness to hold, `patience` for how long it must have been above before the valve closes at all.
    """

    __slots__ = ("_above", "_patience", "_since", "_target", "busy", "limit")

    def __init__(self, target: float, patience: float) -> None:
        self._target = target
        self._patience = patience
        self._since = 0.0
        self._above = 0
        self.busy = 0
        self.limit = NO_LIMIT

    @property
    def is_full(self) -> bool:
        return self.busy >= self.limit

    def observe(self, lag: float, now: float) -> None:
        """The loop ran `lag` late: cut the limit towards what keeps the target, or let it grow slowly."""
        if lag <= self._target:
            self._above = 0
            if self.limit != NO_LIMIT:
                grown = self.limit + max(1, self.limit // 16)
                self.limit = grown if grown < _ENOUGH else NO_LIMIT
            return
        if self._above == 0:
            self._since = now
        self._above += 1
        stands = self._above >= _SAMPLES and now - self._since >= self._patience
        if stands or self.limit != NO_LIMIT:
            share = max(0.5, self._target / lag)
            self.limit = max(LEAST, int(min(self.limit, max(self.busy, LEAST)) * share))
