"""The data folder of `hub dev`: its lock, its secrets, and what it leaves for the client commands."""

import base64
import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import msgspec

LOCK_WAIT: Final = 1.0
"""Seconds; the store of a `hub dev` that was killed lets go of the lock an instant later."""


class DataDirError(Exception):
    """The data folder can't be used; the message says why and what to do."""


class Secrets(msgspec.Struct, frozen=True):
    """What `hub dev` makes once and keeps, named as the variables that they stand in for."""

    HUB_SECRET_KEY: str
    HUB_BOOTSTRAP_KEY: str
    HUB_JWT_SECRET: str


class Running(msgspec.Struct, frozen=True):
    """How a client command reaches the `hub dev` that runs on this folder."""

    url: str
    key: str


@contextlib.contextmanager
def locked(data_dir: Path) -> Generator[int]:
    """Hold the folder for one `hub dev`; gives the lock's descriptor. Raises DataDirError while another holds it.

    The store inherits the descriptor, so the folder stays locked until the store has ended too: two stores never write
    one append-only file.
    """
    with (data_dir / "lock").open("a+") as file:
        deadline = time.monotonic() + LOCK_WAIT
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise DataDirError(
                    f"{data_dir} is in use by another hub dev (process {holder}); stop it, or choose another --data-dir"
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()


def load_secrets(data_dir: Path) -> Secrets:
    """The folder's secrets; made and written at the first start. Raises DataDirError for a file that is not whole."""
    path = data_dir / "dev.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except FileNotFoundError:
        made = Secrets(
            base64.b64encode(secrets.token_bytes(32)).decode(),
            "hubsk_" + secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
        )
        _write_private(path, msgspec.json.encode(made))
        return made
    except msgspec.MsgspecError as exc:
        raise DataDirError(
            f"{path} is damaged ({exc}); restore it: webhook secrets are encrypted with its key"
        ) from None


@contextlib.contextmanager
def announced(data_dir: Path, url: str, key: str) -> Generator[None]:
    """Leave the address and the key to the client commands for as long as `hub dev` runs."""
    path = data_dir / "running.json"
    _write_private(path, msgspec.json.encode(Running(url, key)))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find_running(data_dir: Path) -> Running | None:
    """What the `hub dev` on this folder left, or None."""
    try:
        return msgspec.json.decode((data_dir / "running.json").read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None


def environment(base: Mapping[str, str], data_dir: Path, made: Secrets, redis_url: str, url: str) -> dict[str, str]:
    """What the processes of `hub dev` are started with; a variable that is set already keeps its value."""
    defaults = {
        **msgspec.structs.asdict(made),
        "HUB_REDIS_URL": redis_url,
        "HUB_PUBLIC_URL": url,
        "HUB_WEBHOOK_ALLOW_HTTP": "1",
        "HUB_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8,::1/128",
        "HUB_DRAIN_WAIT": "0",  # there is no balancer that would have to see it
        "HUB_CORS_ORIGINS": "*",  # pages under development come from anywhere; nothing here trusts a cookie
    }
    given = {name: value for name, value in base.items() if value or name not in defaults}
    return {**defaults, **given, "HUB_DATA_DIR": str(data_dir)}


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_private(path: Path, content: bytes) -> None:
    """Put the whole file there at once, readable by this user alone, and on the disk before anything relies on it."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 0600
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    Path(name).replace(path)
