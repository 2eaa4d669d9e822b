"""Rate limits as a deployment declares them: plans of rules, and the text that `HUB_PLANS` gives them in.

    default: key=600/m, ip=50/s; pro: app=5000/s bucket burst=10000, key POST /v1/events=1000/s sliding

A plan has a name and rules. A rule says by what it counts (`app`, `key`, `user` or `ip`), for which operation alone
where it names one, how many requests in how long, and by which algorithm. The counting itself is hub/store/limits.py.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias, cast

import msgspec

By: TypeAlias = Literal["app", "key", "user", "ip"]
Algorithm: TypeAlias = Literal["bucket", "sliding", "fixed"]
Plans: TypeAlias = "Mapping[str, Plan]"

DEFAULT_PLAN: Final = "default"
"""The plan of an app that was given no other."""
ANONYMOUS_PLAN: Final = "anonymous"
"""The plan of requests without a good credential; only `ip` counts there."""
GRAMMAR: Final = (
    "PLAN: RULE, RULE; PLAN: …, a RULE being app|key|user|ip [METHOD /PATH]=LIMIT/[N]s|m|h|d [bucket|sliding|fixed] "
    "[burst=N], such as default: key=600/m, ip=50/s; pro: key=9000/m bucket burst=500"
)
MAX_LIMIT: Final = 1_000_000  # times the longest period in ms it still is a whole number in Lua
MAX_PERIOD: Final = 31 * 86400
MAX_RULES: Final = 16

_PLAN = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RULE = re.compile(
    r"(?P<by>app|key|user|ip)(?: +(?P<route>[A-Z]+ +/\S*))? *= *"
    r"(?P<limit>[0-9]{1,9})/(?P<count>[0-9]{0,7})(?P<unit>[smhd])"
    r"(?: +(?P<algorithm>bucket|sliding|fixed))?(?: +burst=(?P<burst>[0-9]{1,9}))?"
)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Rule(msgspec.Struct, frozen=True):
    """At most `limit` requests in `period` seconds, counted by one thing. `burst` is what a full bucket holds."""

    by: By
    limit: int
    period: int
    algorithm: Algorithm = "bucket"
    burst: int = 0
    route: str | None = None

    @property
    def name(self) -> str:
        """How headers and errors call it: `key-60s`, or `key-60s POST /v1/events`."""
        return f"{self.by}-{self.period}s" + ("" if self.route is None else f" {self.route}")

    @property
    def quota(self) -> int:
        """What may come at once, at most."""
        return self.burst or self.limit

    @property
    def policy(self) -> str:
        """Its item in the field RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10, section 3)."""
        return f'"{self.name}";q={self.limit};w={self.period}'


class Plan(msgspec.Struct, frozen=True):
    name: str
    rules: tuple[Rule, ...]

    def of(self, route: str) -> tuple[Rule, ...]:
        """The rules that an operation, `POST /v1/events`, falls under."""
        return tuple(rule for rule in self.rules if rule.route is None or rule.route == route)


class Standing(msgspec.Struct, frozen=True):
    """How one rule stands: what is left, and in how many ms all is (`whole`) and one more is (`more`) there again."""

    left: int
    whole: int
    more: int


def parse_plans(text: str) -> dict[str, Plan]:
    """Read `HUB_PLANS`. Raises ValueError."""
    plans: dict[str, Plan] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        name, colon, rules = part.partition(":")
        name = name.strip()
        if not colon or not _PLAN.fullmatch(name) or name in plans:
            raise ValueError
        plans[name] = Plan(name, _distinct([_rule(one.strip()) for one in rules.split(",")]))
    if not plans or any(rule.by != "ip" for rule in plans.get(ANONYMOUS_PLAN, Plan("", ())).rules):
        raise ValueError
    return plans


def header_fields(rules: Sequence[Rule], standings: Sequence[Standing], now: float) -> dict[str, str]:
    """What an answer says of its limits. `now` is in seconds since the epoch.

    `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) name every rule; the older
    `X-RateLimit-*` have place for one, the closest to its end, and give its reset as a Unix time in seconds.
    """
    tightest = min(range(len(rules)), key=lambda n: standings[n].left / rules[n].quota)
    tight, rule = standings[tightest], rules[tightest]
    return {
        "ratelimit-policy": ", ".join(rule.policy for rule in rules),
        "ratelimit": ", ".join(
            f'"{rule.name}";r={max(0, standing.left)};t={seconds(standing.whole)}'
            for rule, standing in zip(rules, standings, strict=True)
        ),
        "x-ratelimit-limit": str(rule.quota),
        "x-ratelimit-remaining": str(max(0, tight.left)),
        "x-ratelimit-reset": str(int(now) + seconds(tight.whole)),
    }


def seconds(ms: float) -> int:
    """Whole seconds, upwards: whoever waits so long has waited long enough."""
    return -int(-ms // 1000)


def _rule(text: str) -> Rule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError
    algorithm = cast("Algorithm", found["algorithm"] or "bucket")
    limit, period = int(found["limit"]), int(found["count"] or "1") * _UNITS[found["unit"]]
    burst = int(found["burst"] or "0")
    if not (0 < limit <= MAX_LIMIT and 0 < period <= MAX_PERIOD and burst <= MAX_LIMIT):
        raise ValueError
    if found["burst"] is not None and (algorithm != "bucket" or burst == 0):
        raise ValueError
    route = None if found["route"] is None else re.sub(" +", " ", found["route"])
    return Rule(cast("By", found["by"]), limit, period, algorithm, burst, route)


def _distinct(rules: list[Rule]) -> tuple[Rule, ...]:
    if len(rules) > MAX_RULES or len({rule.name for rule in rules}) < len(rules):
        raise ValueError
    return tuple(rules)
