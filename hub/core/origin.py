"""Where an event came from: the request that published it, and the trace that the request is part of.

Both go with the event to its attempts, as one text: the request's id and, where there is a trace, behind a blank the
`traceparent` of W3C Trace Context (section 3.2). The envelope's bytes know nothing of it.
"""

import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
EXTENSION: Final = "traceparent"
"""The attribute that CloudEvents have for it (extension "Distributed Tracing", version 1.0)."""


class Origin(NamedTuple):
    request_id: str
    traceparent: str | None = None

    def __str__(self) -> str:
        return self.request_id if self.traceparent is None else f"{self.request_id} {self.traceparent}"


def parse(text: str) -> Origin:
    request_id, _, traceparent = text.partition(" ")
    return Origin(request_id, traceparent or None)


def traced(origin: str, traceparent: str | None) -> str:
    """An origin with another trace context."""
    return origin if traceparent is None else str(Origin(parse(origin).request_id, traceparent))


def check_traceparent(text: object) -> str | None:
    """A trace context that may be passed on, or None: one that is wrong is ignored, as W3C demands (section 3.2.2).

    One of a later version is read as version 00, and passed on as that (section 3.2.4).
    """
    found = _TRACEPARENT.fullmatch(text) if isinstance(text, str) and len(text) <= 512 else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not found[2].strip("0") or not found[3].strip("0"):
        return None
    return f"00-{found[2]}-{found[3]}-{found[4]}"
