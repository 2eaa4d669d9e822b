"""A stretch of time as owners give it to jobs."""

from datetime import datetime
from typing import Annotated

import msgspec

from hub.core.errors import Invalid

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339, with its offset."""


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `since` (inclusive) to `until` (exclusive), of events' times; without `until`, to now."""

    since: Moment
    until: Moment | None = None

    def ms(self, now_ms: int) -> tuple[int, int]:
        """Both ends in ms, the second at most now. Raises Invalid for a span that is empty."""
        since = round(self.since.timestamp() * 1000)
        until = now_ms if self.until is None else min(now_ms, round(self.until.timestamp() * 1000))
        if since < 0 or since > now_ms:
            raise Invalid.field("since", "must be a time between 1970 and now")
        if self.until is not None and since >= self.until.timestamp() * 1000:
            raise Invalid.field("until", "must be later than since")
        return since, until
