"""`hub check`: the settings, the store, the clock, the data folder, the port; what is wrong with them, and the mend."""

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import msgspec

from hub import listening, settings
from hub.core.endpoint import Config
from hub.core.errors import NotConfigured, StoreUnavailable
from hub.live.slice import open_slice
from hub.settings import SETTINGS, Setting, Settings, SettingsError
from hub.store import embedded, keys, requirements
from hub.store.probe import Probe, probe
from hub.store.requirements import Caller, Fault
from hub.store.secrets import Secrets
from hub.store.wire import StoreError

MAX_SKEW: Final = 2.0
"""Seconds between this machine's clock and the store's; tokens expire by the one, events are stamped by the other."""
FEWEST_FILES: Final = 16_384
CLIENT_VARIABLES: Final = frozenset({"HUB_URL", "HUB_KEY"})


async def run(environ: Mapping[str, str], host: str, port: int) -> int:
    """Print the settings and every finding; 1 when one of them is an error, else 0."""
    for setting in SETTINGS:
        print(f"{setting.variable:<26}{shown(setting, environ.get(setting.variable, ''))}")
    print()
    faults = setting_faults(environ)
    if not faults:
        configured = settings.load(environ)
        faults += key_faults(configured)
        faults += folder_faults(configured.data_dir)
        faults += file_faults(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        faults += await _store(configured)
        faults += await port_faults(host, port)
        print(f"live events are written by: {open_slice(configured.io_uring == 'auto').how}")
    faults += unknown_faults(environ)
    for fault in faults:
        print(f"{fault.level}: {fault.what}.\n  mend: {fault.mend}.")
    failed = any(fault.level == "error" for fault in faults)
    print("The hub can't run like this." if failed else "The hub can run like this.")
    return 1 if failed else 0


def shown(setting: Setting, value: str) -> str:
    """A variable's value for the eye: no secret, no password."""
    if setting.secret:
        return "set" if value else "not set"
    if not value:
        return f"{setting.default} (default)" if setting.default else "not set"
    return settings.hide_login(value) if setting.field == "redis_url" else value


def setting_faults(environ: Mapping[str, str]) -> list[Fault]:
    """Every variable whose value can't be used, not just the first."""
    faults: list[Fault] = []
    for setting in SETTINGS:
        try:
            settings.load({setting.variable: environ.get(setting.variable, "")})
        except SettingsError as exc:
            what, _, allowed = str(exc).partition("; ")
            faults.append(Fault("error", what, f"{setting.variable}: {allowed}"))
    return faults


def key_faults(configured: Settings) -> list[Fault]:
    if configured.redis_url is None or configured.secret_key is not None:
        return []  # hub dev makes its own
    return [Fault("warning", "HUB_SECRET_KEY is not set: hub serve and hub worker don't start without it",
                  "Make one with `openssl rand -base64 32`, the same for every process, and keep it")]  # fmt: skip


def unknown_faults(environ: Mapping[str, str]) -> list[Fault]:
    known = {setting.variable for setting in SETTINGS} | CLIENT_VARIABLES
    return [
        Fault("warning", f"{name} is not a variable of the hub", "Look at its spelling")
        for name in sorted(environ)
        if name.startswith("HUB_") and name not in known
    ]


def folder_faults(data_dir: Path) -> list[Fault]:
    """Whether the data folder, where there is one, can be written, and is closed to other users."""
    if not data_dir.exists():
        return []
    if not data_dir.is_dir() or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        return [Fault("error", f"{data_dir} is not a folder that this user can write", f"chown or chmod {data_dir}")]
    return [
        Fault("warning", f"Other users can reach {path}", f"chmod go-rwx {path}")
        for path in (data_dir, data_dir / "dev.json")
        if path.exists() and path.stat().st_mode & 0o077
    ]


def file_faults(limit: int) -> list[Fault]:
    """`limit` is how many files a process of this user may have open at most; each live connection is one.

    It is the hard limit: web processes raise their own to it.
    """
    if limit == resource.RLIM_INFINITY or limit >= FEWEST_FILES:
        return []
    return [Fault("warning", f"A process may have {limit} open files, so about {max(0, limit - 64)} live connections",
                  f"Raise it: `ulimit -Hn {2 * FEWEST_FILES}`, or LimitNOFILE of the service")]  # fmt: skip


async def port_faults(host: str, port: int) -> list[Fault]:
    """Whether web processes could listen there; where a hub already does, that is no fault."""
    try:
        listening.listen(host, port).close()
    except listening.PortUnusable as exc:
        url = listening.url_of(host, port)
        if exc.is_taken and await _is_hub(url):
            print(f"port: a hub answers at {url}")
            return []
        return [Fault("error", exc.what, exc.mend[0].upper() + exc.mend[1:])]
    return []


async def _is_hub(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=1.0, trust_env=False) as client:
            answer = await client.get(f"{url}/health/live")
    except httpx.HTTPError:
        return False
    return answer.content == b'{"status":"ok"}' and "x-request-id" in answer.headers


async def secret_faults(store: Caller, configured: Settings) -> list[Fault]:
    """Whether HUB_SECRET_KEY opens what the store holds: the secret of any one endpoint."""
    _, found = await store.call("HSCAN", keys.ENDPOINTS, 0, "COUNT", 10)
    for endpoint_id in (raw.decode() for raw in found[::2]):
        partition = keys.delivery_partition(endpoint_id, configured.delivery_partitions)
        raw = await store.call("HGET", keys.endpoint(partition, endpoint_id), "config")
        if raw is None:
            continue
        try:
            Secrets(configured.secret_key, configured.secret_key_previous).open(
                endpoint_id, msgspec.json.decode(raw, type=Config).secret
            )
        except NotConfigured as exc:
            return [Fault("error", f"The store's secrets can't be opened: {exc.message}",
                          "Set HUB_SECRET_KEY to the key that the endpoints were made with")]  # fmt: skip
        return []
    return []


def skew_faults(seconds: float) -> list[Fault]:
    """`seconds` is how far this machine's clock is ahead of the store's."""
    if abs(seconds) <= MAX_SKEW:
        return []
    where = "ahead of" if seconds > 0 else "behind"
    return [Fault("warning", f"This machine's clock is {abs(seconds):.1f} s {where} the store's", "Keep both by NTP")]


async def _store(configured: Settings) -> list[Fault]:
    url = configured.redis_url or embedded.url(configured.data_dir)
    if configured.redis_url is None and not await embedded.answers(configured.data_dir):
        print("store: hub dev's own, not running now; hub serve and hub worker need HUB_REDIS_URL")
        return []
    try:
        async with probe(url) as store:
            return await _reached(store, configured)
    except (StoreUnavailable, StoreError) as exc:
        mend = "Start it, or correct HUB_REDIS_URL: address, password, TLS"
        return [Fault("error", f"The store at {settings.hide_login(url)} can't be used: {exc}", mend)]


async def _reached(store: Probe, configured: Settings) -> list[Fault]:
    print(f"store: {requirements.name_and_version(requirements.parse_info(await store.call('INFO')))}")
    wanted = {"partitions": configured.partitions, "delivery_partitions": configured.delivery_partitions}
    return [
        *await requirements.store_faults(store, configured.durability),
        *await requirements.layout_faults(store, wanted),
        *(await secret_faults(store, configured) if configured.secret_key is not None else ()),
        *skew_faults(await _skew(store)),
    ]


async def _skew(store: Probe) -> float:
    before = time.time()
    seconds, micros = await store.call("TIME")
    return (before + time.time()) / 2 - (int(seconds) + int(micros) / 1e6)
