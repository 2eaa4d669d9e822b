"""What a store must be and do for the hub to keep its promises, and how to mend one that doesn't."""

import re
from collections.abc import Mapping
from typing import Final, Literal, Protocol

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from hub.core.errors import StoreUnavailable
from hub.settings import Settings, SettingsError
from hub.store import keys
from hub.store.connect import Link
from hub.store.log import check_layout
from hub.store.wire import Arg, Reply, StoreError
from hub.telemetry import logger

OLDEST: Final = (7, 0)
OLDEST_WAITAOF: Final = (7, 2)
STORE_WITHIN: Final = 30.0
"""Seconds that the store has to answer at the start of a process."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong, and the mend. An `error` keeps the hub from starting, a `warning` weakens what it promises."""

    level: Literal["error", "warning"]
    what: str
    mend: str


class Caller(Protocol):
    """What runs a command: a Link, or a Probe."""

    async def call(self, *command: Arg) -> Reply: ...


async def store_faults(store: Caller, durability: str = "store") -> list[Fault]:
    """What is wrong with the store. Raises StoreUnavailable when it can't be asked."""
    info = parse_info(await store.call("INFO"))
    try:
        pairs: list[bytes] = await store.call("CONFIG", "GET", "appendfsync")
        appendfsync = pairs[1].decode() if pairs else None
    except (StoreError, StoreUnavailable):  # hosted stores forbid CONFIG
        appendfsync = None
    return judge(info, appendfsync, durability)


async def require_store(link: Link, settings: Settings) -> None:
    """Raise SettingsError for a store that may lose what was accepted or is laid out otherwise; log what weakens it."""
    for fault in await store_faults(link, settings.durability):
        logger().warning("store_fault", level=fault.level, what=fault.what, mend=fault.mend)
        if fault.level == "error":
            raise SettingsError(f"{fault.what}. {fault.mend}")
    try:
        await check_layout(link, settings.partitions, settings.delivery_partitions)
    except ValueError as exc:
        raise SettingsError(str(exc)) from None


def store_patience() -> AsyncRetrying:
    """Tries again while the store can't be reached, for STORE_WITHIN; the log says that it waits, and for what."""
    return AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_exponential_jitter(multiplier=0.1, max=2),
        stop=stop_after_delay(STORE_WITHIN),
        before_sleep=_say_once,
        reraise=True,
    )


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        logger().warning("store_awaited", reason=str(state.outcome.exception()), seconds=STORE_WITHIN)


async def layout_faults(store: Caller, wanted: Mapping[str, int]) -> list[Fault]:
    """Whether `partitions` and `delivery_partitions` are what the store was laid out with; an empty store fits any."""
    found: list[Fault] = []
    for name, value in wanted.items():
        fixed: bytes | None = await store.call("HGET", keys.LAYOUT, name)
        if fixed is not None and int(fixed) != value:
            variable = f"HUB_{name.upper()}"
            found.append(
                Fault("error", f"{variable} is {value}, but this store was laid out with {int(fixed)}",
                      f"Set {variable}={int(fixed)}; it is fixed at the first start")
            )  # fmt: skip
    return found


def parse_info(reply: bytes) -> dict[str, str]:
    """INFO's fields by name."""
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def name_and_version(info: Mapping[str, str]) -> str:
    if version := info.get("valkey_version"):
        return f"Valkey {version}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def judge(info: Mapping[str, str], appendfsync: str | None, durability: str) -> list[Fault]:
    """The faults that a store's INFO and its `appendfsync` (None: it doesn't say) show."""
    return [
        *_version(info, durability),
        *_memory(info),
        *_persistence(info, appendfsync, durability),
        *_role(info, durability),
    ]


def _version(info: Mapping[str, str], durability: str) -> list[Fault]:
    version = _number(info)
    if version < OLDEST:
        return [Fault("error", f"The store is {name_and_version(info)}", "Use Redis 7.0 or newer, or Valkey")]
    if durability == "fsync" and version < OLDEST_WAITAOF:
        return [Fault("error", f"HUB_DURABILITY=fsync needs WAITAOF, which {name_and_version(info)} lacks",
                      "Use Redis 7.2 or newer or Valkey, or HUB_DURABILITY=store with appendfsync always")]  # fmt: skip
    return []


def _number(info: Mapping[str, str]) -> tuple[int, int]:
    """Major and minor version; Valkey gives the Redis version that it is compatible with here, 7.2.4."""
    found = re.match(r"(\d+)\.(\d+)", info.get("redis_version", ""))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _memory(info: Mapping[str, str]) -> list[Fault]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return [Fault("error", f"The store's maxmemory-policy is {policy}: it may evict events that were accepted",
                      "CONFIG SET maxmemory-policy noeviction, and the same in its configuration")]  # fmt: skip
    if info.get("maxmemory", "0") == "0":
        return [Fault("warning", "The store has no memory limit: when memory ends, the system kills it",
                      "Set maxmemory to what it may use; the hub then answers LOG_FULL in time")]  # fmt: skip
    return []


def _persistence(info: Mapping[str, str], appendfsync: str | None, durability: str) -> list[Fault]:
    if info.get("aof_enabled") != "1":
        level = "error" if durability == "fsync" else "warning"
        return [Fault(level, "The store keeps no append-only file: a restart loses what was accepted",
                      "CONFIG SET appendonly yes, and the same in its configuration")]  # fmt: skip
    if info.get("aof_last_write_status", "ok") != "ok":
        return [Fault("error", "The store's last write to its append-only file failed", "Look at its disk and its log")]
    if durability != "store" or appendfsync == "always":
        return []
    if appendfsync is None:
        return [Fault("warning", "The store doesn't say when it writes to the disk (CONFIG is forbidden)",
                      "Ask its operator for appendfsync always, or set HUB_DURABILITY=fsync")]  # fmt: skip
    return [Fault("warning", f"The store's appendfsync is {appendfsync}: a power cut loses the last moments",
                  "CONFIG SET appendfsync always, or set HUB_DURABILITY=fsync")]  # fmt: skip


def _role(info: Mapping[str, str], durability: str) -> list[Fault]:
    if info.get("role", "master") != "master":
        return [Fault("error", "The store is a replica: it can't be written to",
                      "Point HUB_REDIS_URL at the master, or at Sentinel by redis+sentinel://")]  # fmt: skip
    if durability == "replicated" and info.get("connected_slaves", "0") == "0":
        return [Fault("error", "HUB_DURABILITY=replicated, but the store has no replica: every publish fails",
                      "Attach a replica, or choose HUB_DURABILITY=fsync")]  # fmt: skip
    return []
