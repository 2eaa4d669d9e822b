"""Opaque credentials: API keys and OAuth tokens, which say their kind and id and then a secret.

The id finds the record, which has the digest of the whole text; so nothing is looked up by a secret, and what is
compared is compared in constant time.
"""

import re
from typing import Final, NamedTuple

from hub.core.seed import Seed

API_KEY: Final = "hubsk"
ACCESS_TOKEN: Final = "hubat"  # noqa: S105 - a kind, no secret
REFRESH_TOKEN: Final = "hubrt"  # noqa: S105
_FORM: Final = re.compile(r"(hubsk|hubat|hubrt)_([0-9a-f]{24})_[A-Za-z0-9_-]{43}")


class Opaque(NamedTuple):
    """What a credential says of itself."""

    kind: str
    id: str


def new_id(now_ms: int, seed: Seed | None = None) -> str:
    """24 hexadecimal digits that sort by the time they were made: 48 bits of milliseconds, 48 of chance."""
    return f"{now_ms:012x}{(seed or Seed()).draw(6).hex()}"


def mint(kind: str, id: str, seed: Seed | None = None) -> str:
    """A new credential of a kind and an id: 256 bits of chance behind them."""
    return f"{kind}_{id}_{(seed or Seed()).text(32)}"


def parse(text: str) -> Opaque | None:
    """The kind and id of a text that has a credential's form, else None."""
    found = _FORM.fullmatch(text)
    return None if found is None else Opaque(found[1], found[2])


_CREDENTIAL: Final = re.compile(r"(?:hubsk|hubat|hubrt|tkt|whsec|whsk)_[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")


def hide(text: str) -> str:
    """A text for the log, with stars for what somebody put there that is a credential."""
    return _CREDENTIAL.sub("***", text) if len(text) > 24 else text
