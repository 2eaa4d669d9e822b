"""When an endpoint that fails is left alone, and when it is tried again. The state is kept in settle.lua and claim.lua.

Closed: deliveries go out. It opens when nothing but `down` came for long enough and often enough: deliveries wait, and
use up none of their attempts. After a pause it is half-open: one delivery is the probe. If the endpoint answers it, the
breaker closes; if not, it opens for twice as long.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

Says: TypeAlias = Literal["ok", "alive", "down", ""]
"""What an attempt says of its endpoint: it took the delivery; it answers, though not with success; it gives no answer,
or says that it is overloaded or broken; nothing was sent."""

State: TypeAlias = Literal["closed", "open", "half-open"]

DAY_MS: Final = 86_400_000


class Policy(NamedTuple):
    """All times in ms.

    It opens after `failures` in a row, the first of them at least `within` ago, for `pause`, which doubles up to
    `longest`. An endpoint with nothing but failures of any kind for `disable` is disabled; when no attempt was made for
    `idle`, that time begins anew.
    """

    failures: int = 10
    within: int = 30_000
    pause: int = 10_000
    longest: int = 60_000
    disable: int = 5 * DAY_MS
    idle: int = 2 * DAY_MS


POLICY: Final = Policy()


def says(status: int | None, error: str | None) -> Says:
    """What an attempt says of its endpoint; `error` is a code of workers/sender.py."""
    if error is None:
        return "ok"
    if error in ("secret", "proxy", "transform"):  # nothing came to the endpoint
        return ""
    if error in ("status", "redirect") and status is not None and status < 500 and status != 429:
        return "alive"
    return "down"


def state(open_until: int | None, now: int) -> State:
    """The state that the stored end of the pause stands for."""
    if open_until is None:
        return "closed"
    return "open" if now < open_until else "half-open"
