"""Endpoints: what their owners may write, and the configuration that is stored."""

import re
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from hub.core import opaque
from hub.core.cloudevents import Format
from hub.core.cursor import Position
from hub.core.errors import Invalid
from hub.core.expression import Expression
from hub.core.retry import RetryInput, schedule_of
from hub.core.rotation import Retired
from hub.core.seed import Seed
from hub.core.signing import Signature
from hub.core.target_url import UrlRules, check_url
from hub.core.topics import check_pattern, check_type_pattern

ID: Final = re.compile(r"ep_[0-9a-f]{24}")
MAX_PATTERNS: Final = 100
MAX_DESCRIPTION: Final = 1000
MAX_PAIRS: Final = 50
MAX_VALUE: Final = 1000
DEFAULT_IN_FLIGHT: Final = 10
MAX_IN_FLIGHT: Final = 1000
DEFAULT_BACKLOG: Final = 100_000
MAX_BACKLOG: Final = 1_000_000
MAX_RATE: Final = 10_000
MAX_PERIOD: Final = 86_400
MIN_TIMEOUT: Final = 1.0
MAX_TIMEOUT: Final = 120.0

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[ \t!-~]*")
_METADATA_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_OWN_HEADERS = frozenset(
    ("connection", "content-encoding", "content-length", "content-type", "cookie", "date", "expect", "host",
     "keep-alive", "proxy-authorization",
     "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent")
)  # fmt: skip

Pairs: TypeAlias = dict[str, str]


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `limit` attempts begin in any `period` seconds."""

    limit: int
    period: int = 1


class EndpointInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint as its owner creates it. `timeout` is in seconds; absent, like `retry`, it is the deployment's."""

    url: str
    description: str = ""
    types: tuple[str, ...] | None = None
    topics: tuple[str, ...] | None = None
    filter: str | None = None
    transform: str | None = None
    format: Format = "standard"
    signature: Signature = "v1"
    secret: str | None = None
    headers: Pairs = {}
    ordered: bool = False
    max_in_flight: int = DEFAULT_IN_FLIGHT
    max_backlog: int = DEFAULT_BACKLOG
    rate_limit: RateLimit | None = None
    timeout: float | None = None
    retry: RetryInput | None = None
    metadata: Pairs = {}
    enabled: bool = True
    handshake: bool = False


class EndpointPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change: what is absent stays, and null sets what has a default back to it."""

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    types: tuple[str, ...] | UnsetType | None = UNSET
    topics: tuple[str, ...] | UnsetType | None = UNSET
    filter: str | UnsetType | None = UNSET
    transform: str | UnsetType | None = UNSET
    format: Format | UnsetType = UNSET
    headers: Pairs | UnsetType = UNSET
    ordered: bool | UnsetType = UNSET
    max_in_flight: int | UnsetType = UNSET
    max_backlog: int | UnsetType = UNSET
    rate_limit: RateLimit | UnsetType | None = UNSET
    timeout: float | UnsetType | None = UNSET
    retry: RetryInput | UnsetType | None = UNSET
    metadata: Pairs | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    handshake: bool | UnsetType = UNSET


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it is stored. `secret` and those that were `retired` are sealed; times are in ms.

    `since` is where each log partition stood when the endpoint was made: older events are not owed to it.
    """

    id: str
    app: str
    url: str
    description: str
    types: tuple[str, ...] | None
    topics: tuple[str, ...] | None
    secret: str
    headers: Pairs
    max_in_flight: int
    timeout: float | None
    retry: tuple[float, ...] | None
    metadata: Pairs
    since: dict[int, Position]
    created_at: int
    updated_at: int
    signature: Signature = "v1"
    retired: tuple[Retired, ...] = ()
    filter: str | None = None
    transform: str | None = None
    format: Format = "standard"
    ordered: bool = False
    rate_limit: RateLimit | None = None
    handshake: bool = False
    max_backlog: int = DEFAULT_BACKLOG


def new_id(now_ms: int, seed: Seed | None = None) -> str:
    """A fresh endpoint id; ids sort by the time they were made."""
    return f"ep_{opaque.new_id(now_ms, seed)}"


def create(
    given: EndpointInput, *, id: str, app: str, sealed: str, since: dict[int, Position], now_ms: int, rules: UrlRules
) -> Config:
    """The configuration that the input stands for, or Invalid."""
    check_url(given.url, rules)
    config = Config(
        id=id,
        app=app,
        url=given.url,
        description=given.description,
        types=given.types,
        topics=given.topics,
        filter=given.filter,
        transform=given.transform,
        format=given.format,
        secret=sealed,
        headers=given.headers,
        max_in_flight=given.max_in_flight,
        timeout=given.timeout,
        retry=None if given.retry is None else schedule_of(given.retry),
        metadata=given.metadata,
        since=since,
        created_at=now_ms,
        updated_at=now_ms,
        signature=given.signature,
        ordered=given.ordered,
        rate_limit=given.rate_limit,
        handshake=given.handshake,
        max_backlog=given.max_backlog,
    )
    return _checked(config)


def change(config: Config, given: EndpointPatch, *, now_ms: int, rules: UrlRules) -> Config:
    """The configuration after a change, or Invalid. A URL that stays isn't judged by rules that came after it."""
    if given.url is not UNSET:
        check_url(given.url, rules)
    fields = {name: getattr(given, name) for name in EndpointPatch.__struct_fields__ if name != "enabled"}
    fields = {name: value for name, value in fields.items() if value is not UNSET}
    if isinstance(given.retry, RetryInput):
        fields["retry"] = schedule_of(given.retry)
    return _checked(msgspec.structs.replace(config, **fields, updated_at=now_ms))


def _checked(config: Config) -> Config:
    for field, patterns, check in (
        ("types", config.types, check_type_pattern),
        ("topics", config.topics, check_pattern),
    ):
        if patterns is not None:
            if not 1 <= len(patterns) <= MAX_PATTERNS:
                raise Invalid.field(
                    field, f"has {len(patterns)} patterns; allowed are 1 to {MAX_PATTERNS}, or no {field}"
                )
            for index, pattern in enumerate(patterns):
                check(pattern, f"{field}[{index}]")
    for field, text in (("filter", config.filter), ("transform", config.transform)):
        if text is not None:
            Expression(text, field)
    if len(config.description) > MAX_DESCRIPTION:
        raise Invalid.field("description", f"is over {MAX_DESCRIPTION} characters")
    _check_numbers(config)
    if config.timeout is not None and not MIN_TIMEOUT <= config.timeout <= MAX_TIMEOUT:
        raise Invalid.field(
            "timeout", f"{config.timeout} is out of range; allowed are {MIN_TIMEOUT:.0f} to {MAX_TIMEOUT:.0f} seconds"
        )
    _check_pairs("headers", config.headers, _HEADER_NAME)
    _check_headers(config.headers)
    if config.handshake and any(name.lower() == "origin" for name in config.headers):
        raise Invalid.field("headers.origin", "is set by the hub where there is a handshake")
    _check_pairs("metadata", config.metadata, _METADATA_NAME)
    return config


def _check_numbers(config: Config) -> None:
    numbers = [("max_in_flight", config.max_in_flight, MAX_IN_FLIGHT), ("max_backlog", config.max_backlog, MAX_BACKLOG)]
    if config.rate_limit is not None:
        numbers.append(("rate_limit.limit", config.rate_limit.limit, MAX_RATE))
        numbers.append(("rate_limit.period", config.rate_limit.period, MAX_PERIOD))
    for field, value, most in numbers:
        if not 1 <= value <= most:
            raise Invalid.field(field, f"{value} is out of range; allowed is 1 to {most}")


def _check_pairs(field: str, pairs: Pairs, names: re.Pattern[str]) -> None:
    if len(pairs) > MAX_PAIRS:
        raise Invalid.field(field, f"has {len(pairs)} entries; allowed are {MAX_PAIRS}")
    for name, value in pairs.items():
        if not names.fullmatch(name):
            raise Invalid.field(f"{field}.{name[:80]}", "is not a name that is allowed here, of at most 100 characters")
        if len(value) > MAX_VALUE:
            raise Invalid.field(f"{field}.{name}", f"has {len(value)} characters; allowed are {MAX_VALUE}")


def _check_headers(headers: Pairs) -> None:
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if lower in _OWN_HEADERS or lower.startswith(("webhook-", "ce-")):
            raise Invalid.field(f"headers.{name}", "is set by the hub or the connection; choose another name")
        if lower in seen:
            raise Invalid.field(f"headers.{name}", "is there twice; names don't differ by case")
        if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
            raise Invalid.field(f"headers.{name}", "must be visible ASCII characters, with spaces only between them")
        seen.add(lower)
