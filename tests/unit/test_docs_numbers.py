"""The numbers that the documents of the API promise are those that the code keeps to."""

from pathlib import Path
from typing import Final

import pytest

from hub.core import jose, jwk, limits, tenant
from hub.store import access, audit, grants, quota, requests, revocations, versioned
from hub.store import limits as counting
from hub.web import door, http, jwks, poll, portal, representation

DOCS: Final = Path(__file__).parents[2] / "docs"
DAY: Final = 86400
NUMBERS: Final[tuple[tuple[str, str, float, float], ...]] = (
    # document, its words, and the constant with what they make of it
    ("api.md", "at most 64 KiB", http.MAX_BODY, 64 * 1024),
    ("api.md", "Answers from 1 KiB on are compressed", representation.LEAST, 1024),
    ("credentials.md", "an API key, an app or a grant within a fifth", versioned.FRESH, 0.2),
    ("limits.md", "it counts everywhere within a fifth of a second", versioned.FRESH, 0.2),
    ("credentials.md", "written once a minute", access.USED_SECONDS, 60),
    ("credentials.md", "after an hour, with its grant", grants.ACCESS_SECONDS, 3600),
    ("credentials.md", "One that isn't used ends after 7 days", grants.REFRESH_SECONDS, 7 * DAY),
    ("credentials.md", "1 second to 7 days", portal.MAX_TTL, 7 * DAY),
    ("credentials.md", "up to ten of its own", tenant.MAX_SIGNING_KEYS, 10),
    ("credentials.md", "at least 32 bytes", jwk.MIN_SECRET, 32),
    ("credentials.md", "RSA below 2048 bits", jwk.MIN_RSA, 2048),
    ("credentials.md", "texts over 16 KiB", jose.MAX_TOKEN, 16 * 1024),
    ("credentials.md", "then every five minutes", jwks.FRESH, 300),
    ("credentials.md", "with 3 s and", jwks.TIMEOUT, 3),
    ("credentials.md", "256 KiB at most", jwks.MAX_BYTES, 256 * 1024),
    ("credentials.md", "at most every ten seconds", jwks.PAUSE, 10),
    ("credentials.md", "for a day", jwks.STALE, DAY),
    ("idempotency.md", "an answer is kept for 24 hours", requests.KEEP, DAY),
    ("idempotency.md", "holds a request for 10 seconds", requests.HOLD, 10),
    ("limits.md", "up to 1,000,000 in", limits.MAX_LIMIT, 1_000_000),
    ("limits.md", "up to 31 days", limits.MAX_PERIOD, 31 * DAY),
    ("limits.md", "at most a hundredth of the limit", counting.SHARE, 100),
    ("limits.md", "A rule of under 100 requests is exact", counting.SHARE, 100),
    ("limits.md", "more than a tenth is left", counting.AMPLE, 10),
    ("limits.md", "a lease of 6 seconds", quota.LEASE, 6),
    ("limits.md", "or over twice that", door.WAIT, 2),
    ("limits.md", "for half a second", door.SHED_AFTER, 0.5),
    ("limits.md", "stood for a second", door.LONGEST, 1),
    ("limits.md", "may stand for five", door.LIVE_LONGEST, 5),
    ("limits.md", "only after three seconds", door.LIVE_SHED_AFTER, 3),
    ("limits.md", "a `Retry-After` of 1 to 4 s", door.LONGEST_WAIT, 4),
    ("limits.md", "answers 2,400 refusals a second", door.REFUSALS / door.TICK, 2400),
    ("live.md", "0 to 60; 25 unless given", poll.WAIT, 25),
    ("live.md", "0 to 60; 25 unless given", poll.MAX_WAIT, 60),
    ("architecture.md", "as long as the credential could, at most 366 days", revocations.LONGEST, 366 * DAY),
    ("architecture.md", "`HUB_AUDIT_RETENTION`, 100,000 entries", audit.MAX_LENGTH, 100_000),
)


@pytest.mark.parametrize(("document", "words", "kept", "told"), NUMBERS, ids=lambda value: str(value)[:40])
def test_a_number_that_is_promised_is_kept(document: str, words: str, kept: float, told: float) -> None:
    assert words in " ".join((DOCS / document).read_text().split())
    assert kept == told
