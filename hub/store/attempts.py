"""Attempts: what is recorded of each HTTP try of a delivery."""

from typing import Final

import msgspec

from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script

MAX_BODY: Final = 16 * 1024
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of attempts that one delivery partition keeps; beyond, the oldest go before their time."""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One try. `at` is RFC 3339, `duration_ms` whole milliseconds; `status` is None where nothing was answered.

    `error` is a stable code (see workers/sender.py), None for a success; headers and body are the answer's, cut to what
    is kept, and the body is kept of failures only.
    """

    number: int
    at: str
    duration_ms: int
    status: int | None = None
    error: str | None = None
    headers: dict[str, str] = {}
    body: str | None = None


async def read(link: Link, partition: int, ids: list[str]) -> list[Attempt]:
    """The attempts of these ids, in order; what was trimmed is left out."""
    if not ids:
        return []
    hist = keys.attempts(partition)
    found = await link.pipeline([("XRANGE", hist, one, one) for one in ids])
    return [msgspec.json.decode(reply[0][1][1], type=Attempt) for reply in found if reply]


async def trim(link: Link, partition: int, oldest_ms: int, most: int = MAX_BYTES) -> None:
    await link.run(script("trim_attempts"), [keys.attempts(partition)], [oldest_ms, most])
