"""The steps of a fan-out: a batch in parts of bounded size, and what a step is counted as."""

import time
from typing import Final, TypeAlias

from hub import metrics, tracing
from hub.live.tail import Batch
from hub.store.control import Ephemeral, Notice
from hub.store.log import Entry

STEP_ENTRIES: Final = 128
STEP_BYTES: Final = 256 * 1024
"""How much of a batch is joined into one write per connection."""

Events: TypeAlias = list[Entry | Ephemeral]


def steps(batch: Batch) -> list[Events | Notice]:
    """A batch in parts of bounded size: what a connection gets of one part is one write.

    A notice is a part of its own: its handler may change memberships, and by then what came before has been written.
    """
    found: list[Events | Notice] = []
    step: Events = []
    size = 0
    for item in (*batch.entries, *batch.control):
        if isinstance(item, Notice):
            found.append(item)
            step = []
            continue
        if not step or len(step) >= STEP_ENTRIES or size > STEP_BYTES:
            found.append(step := [])
            size = 0
        step.append(item)
        size += len(item.body)
    return found


def count(step: Events, deliveries: int, seconds: float) -> None:
    """Once per step, whatever it cost: a fan-out to thousands must not feel it."""
    metrics.FANOUT_EVENTS.inc(len(step))
    metrics.FANOUT_DELIVERIES.inc(deliveries)
    metrics.FANOUT_SECONDS.observe(seconds)
    if tracing.tracer() is not None:
        _trace(step, seconds)
    oldest = next((item for item in step if isinstance(item, Entry)), None)
    if oldest is not None:
        metrics.TAIL_LAG_SECONDS.observe(max(0.0, time.time() - seconds - oldest.position[0] / 1000))


def _trace(step: Events, seconds: float) -> None:
    """A span for each event that is part of a trace."""
    ended = time.time_ns()
    for item in step:
        if isinstance(item, Entry):
            tracing.record("fan-out", item.origin, ended - int(seconds * 1e9), ended, event=item.id)
