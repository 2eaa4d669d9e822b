"""The settings: one frozen struct, and the only reader of the environment.

`SETTINGS` is the list that the README documents and `hub check` prints. A wrong value raises SettingsError, which names
the variable, the value (never a secret's) and what is allowed.
"""

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import parse_qs, urlsplit

import msgspec

from hub.core.addresses import Network
from hub.core.jwk import secret_key
from hub.core.limits import GRAMMAR, Plan, parse_plans
from hub.core.retry import DEFAULT_SCHEDULE, MAX_ATTEMPTS, MAX_DELAY
from hub.core.tenant import is_url


class SettingsError(Exception):
    """A variable holds what the hub can't use."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, parsed. Times are in seconds, sizes in bytes."""

    redis_url: str | None
    data_dir: Path
    partitions: int
    delivery_partitions: int
    durability: str
    secret_key: bytes | None
    secret_key_previous: tuple[bytes, ...]
    bootstrap_key: str | None
    jwt_secret: str | None
    jwt_jwks_url: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_leeway: float
    cors_origins: tuple[str, ...]
    public_url: str | None
    webhook_allow_http: bool
    webhook_allow_networks: tuple[Network, ...]
    webhook_proxy: str | None
    webhook_timeout: float
    retry_schedule: tuple[float, ...]
    retention: int
    log_max_bytes: int | None
    attempt_retention: int
    max_event_bytes: int
    max_connections_per_app: int | None
    ws_max_rooms: int
    ws_max_message_bytes: int
    ws_message_rate: int
    io_uring: str
    plans: Mapping[str, Plan]
    limits_fail: str
    shed_lag: float | None
    trusted_proxies: tuple[Network, ...]
    drain_wait: float
    audit_retention: int
    metrics_key: str | None
    metrics_port: int | None
    metrics_per_endpoint: bool
    traces: str
    log_level: str
    log_format: str


class Setting(NamedTuple):
    """One variable: its field, default as text, how it is read, and what is allowed, in words."""

    variable: str
    field: str
    default: str
    parse: Callable[[str], Any]
    allowed: str
    secret: bool = False


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse


def _lag(text: str) -> float | None:
    return None if text == "off" else _seconds(0.01, 10)(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return parse


def _boolean(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]


def _delays(text: str) -> tuple[float, ...]:
    delays = tuple(float(part) for part in text.split(","))
    if len(delays) >= MAX_ATTEMPTS or not all(0 < delay <= MAX_DELAY for delay in delays):
        raise ValueError
    return delays


def _key32(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != 32:
        raise ValueError
    return key


def _keys32(text: str) -> tuple[bytes, ...]:
    return tuple(_key32(part.strip()) for part in text.split(","))


def _long(low: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) < low or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError
        return text

    return parse


def _secret(text: str) -> str:
    """For HS256: not the text of a public key, which would let everybody sign who knows that."""
    secret_key(_long(32)(text))
    return text


def _url(text: str) -> str:
    if not is_url(text):
        raise ValueError
    return text


def _public_url(text: str) -> str:
    if not _ORIGIN.fullmatch(text) or not is_url(text):
        raise ValueError
    return text


def _redis_url(text: str) -> str:
    """Checked as a whole, so that a slip stops the start and isn't taken for a store that is away."""
    parts = urlsplit(text)
    query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    if parts.fragment or not query.keys() <= _URL_QUERY or not query.get("db", ["0"])[-1].isdecimal():
        raise ValueError
    if parts.scheme == "redis+sentinel":
        fits = not query and all(map(_SENTINEL.fullmatch, parts.netloc.rpartition("@")[2].split(",")))
    elif parts.scheme == "unix":
        fits = len(parts.path) > 1
    else:
        # The port is read for the ValueError of one that is none.
        fits = bool(parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0)
        fits = fits and re.fullmatch(r"/?[0-9]*", parts.path) is not None
    if not fits:
        raise ValueError
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(","))
    if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    return origins


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))


def _proxy(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path.strip("/") or parts.query:
        raise ValueError
    return text


_URL_QUERY: Final = frozenset({"db", "username", "password"})
_SENTINEL = re.compile(r"[^:,/\s]+(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://[^/\s@?#]+")  # as browsers send it: no path, not even a last slash
_SCHEDULE_TEXT = ",".join(f"{delay:.0f}" for delay in DEFAULT_SCHEDULE)

_EMPTY: Final[Mapping[str, Any]] = {
    "cors_origins": (), "webhook_allow_networks": (), "trusted_proxies": (), "plans": {},
    "secret_key_previous": (),
}  # fmt: skip
"""What a variable that isn't set gives, where that isn't None."""
_TEN_YEARS: Final = 10 * 365 * 86400

SETTINGS: Final = (
    Setting("HUB_REDIS_URL", "redis_url", "", _redis_url,
            "redis://HOST:PORT/DB, rediss:// (TLS), unix:///PATH or redis+sentinel://HOST:PORT,…/SERVICE; "
            "empty: hub dev's embedded store"),
    Setting("HUB_DATA_DIR", "data_dir", ".hub", Path, "a folder that can be written"),
    Setting("HUB_PARTITIONS", "partitions", "1", _integer(1, 64), "1 to 64, fixed at first"),
    Setting("HUB_DELIVERY_PARTITIONS", "delivery_partitions", "16", _integer(1, 256),
            "1 to 256, fixed at first"),
    Setting("HUB_DURABILITY", "durability", "store", _one_of("store", "fsync", "replicated"),
            "store, fsync or replicated"),
    Setting("HUB_SECRET_KEY", "secret_key", "", _key32, "32 bytes in base64", secret=True),
    Setting("HUB_SECRET_KEY_PREVIOUS", "secret_key_previous", "", _keys32, "32 bytes in base64, comma-separated",
            secret=True),
    Setting("HUB_BOOTSTRAP_KEY", "bootstrap_key", "", _long(16),
            "at least 16 visible ASCII characters", secret=True),
    Setting("HUB_JWT_SECRET", "jwt_secret", "", _secret,
            "at least 32 visible ASCII characters", secret=True),
    Setting("HUB_JWT_JWKS_URL", "jwt_jwks_url", "", _url, "an http:// or https:// URL without a login"),
    Setting("HUB_JWT_ISSUER", "jwt_issuer", "", str, "the iss claim that tokens must carry"),
    Setting("HUB_JWT_AUDIENCE", "jwt_audience", "", str, "the aud claim that tokens must carry"),
    Setting("HUB_JWT_LEEWAY", "jwt_leeway", "0", _seconds(0, 300), "0 to 300 seconds"),
    Setting("HUB_CORS_ORIGINS", "cors_origins", "", _origins,
            "origins such as https://app.example, without a path, comma-separated, or *"),
    Setting("HUB_PUBLIC_URL", "public_url", "", _public_url,
            "an http:// or https:// URL without a login and a path, such as https://hub.example"),
    Setting("HUB_WEBHOOK_ALLOW_HTTP", "webhook_allow_http", "0", _boolean, "1 or 0"),
    Setting("HUB_WEBHOOK_ALLOW_NETWORKS", "webhook_allow_networks", "", _networks,
            "networks such as 10.1.0.0/16 or fd00::/8, comma-separated"),
    Setting("HUB_WEBHOOK_PROXY", "webhook_proxy", "", _proxy,
            "http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT", secret=True),
    Setting("HUB_WEBHOOK_TIMEOUT", "webhook_timeout", "15", _seconds(1, 120), "1 to 120 seconds"),
    Setting("HUB_RETRY_SCHEDULE", "retry_schedule", _SCHEDULE_TEXT, _delays,
            f"up to {MAX_ATTEMPTS - 1} delays in seconds, comma-separated, each at most {MAX_DELAY:.0f}"),
    Setting("HUB_RETENTION", "retention", "604800", _integer(60, _TEN_YEARS), "60 seconds to 10 years"),
    Setting("HUB_LOG_MAX_BYTES", "log_max_bytes", "", _integer(1024 * 1024, 2**50),
            "at least 1048576; empty: no limit"),
    Setting("HUB_ATTEMPT_RETENTION", "attempt_retention", "604800", _integer(60, _TEN_YEARS),
            "60 seconds to 10 years"),
    Setting("HUB_MAX_EVENT_BYTES", "max_event_bytes", "262144", _integer(1024, 4 * 1024 * 1024),
            "1024 to 4194304"),
    Setting("HUB_MAX_CONNECTIONS_PER_APP", "max_connections_per_app", "", _integer(1, 10_000_000),
            "1 to 10000000; empty: no limit"),
    Setting("HUB_WS_MAX_ROOMS", "ws_max_rooms", "500", _integer(1, 100_000), "1 to 100000"),
    Setting("HUB_WS_MAX_MESSAGE_BYTES", "ws_max_message_bytes", "1048576", _integer(1024, 16 * 1024 * 1024),
            "1024 to 16777216"),
    Setting("HUB_WS_MESSAGE_RATE", "ws_message_rate", "100", _integer(1, 100_000), "1 to 100000 a second"),
    Setting("HUB_IO_URING", "io_uring", "auto", _one_of("auto", "off"), "auto or off"),
    Setting("HUB_PLANS", "plans", "", parse_plans, GRAMMAR + "; empty: no limits"),
    Setting("HUB_LIMITS_FAIL", "limits_fail", "open", _one_of("open", "closed"), "open or closed"),
    Setting("HUB_SHED_LAG", "shed_lag", "0.05", _lag, "0.01 to 10 seconds, or off"),
    Setting("HUB_TRUSTED_PROXIES", "trusted_proxies", "", _networks,
            "networks such as 10.1.0.0/16 or fd00::/8, comma-separated"),
    Setting("HUB_DRAIN_WAIT", "drain_wait", "1", _seconds(0, 300), "0 to 300 seconds"),
    Setting("HUB_AUDIT_RETENTION", "audit_retention", "7776000", _integer(60, _TEN_YEARS), "60 seconds to 10 years"),
    Setting("HUB_METRICS_KEY", "metrics_key", "", _long(16),
            "at least 16 visible ASCII characters", secret=True),
    Setting("HUB_METRICS_PORT", "metrics_port", "", _integer(1, 65535), "1 to 65535; empty: none"),
    Setting("HUB_METRICS_PER_ENDPOINT", "metrics_per_endpoint", "0", _boolean, "1 or 0"),
    Setting("HUB_TRACES", "traces", "off", _one_of("off", "otlp"), "off, otlp"),
    Setting("HUB_LOG_LEVEL", "log_level", "info", _one_of("debug", "info", "warning", "error"),
            "debug, info, warning, error"),
    Setting("HUB_LOG_FORMAT", "log_format", "auto", _one_of("auto", "json", "console"), "auto, json or console"),
)  # fmt: skip


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, by default from the process's environment."""
    source = os.environ if environ is None else environ
    return Settings(**{setting.field: _read(setting, source) for setting in SETTINGS})


def hide_login(url: str) -> str:
    """A store's URL for the eye: without its login, and its query, which may hold a password too."""
    scheme, address = url.partition("://")[::2]
    _, login, place = address.partition("?")[0].rpartition("@")
    if not login and "@" in url:  # behind a ?, which ends a login that isn't escaped as it must be
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if login else ''}{place}"


def _read(setting: Setting, source: Mapping[str, str]) -> Any:
    text = source.get(setting.variable, "") or setting.default
    if not text:
        return _EMPTY.get(setting.field)
    try:
        return setting.parse(text)
    except (ValueError, KeyError, binascii.Error):
        _refuse(setting, text)


def _refuse(setting: Setting, text: str) -> NoReturn:
    safe = hide_login(text) if setting.field == "redis_url" and "://" in text else text
    shown = f"{len(text)} characters (not shown)" if setting.secret else repr(safe)
    raise SettingsError(f"{setting.variable} is {shown}; allowed: {setting.allowed}") from None
