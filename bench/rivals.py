"""The other servers: Nchan, socket.io and bare ws, each started in the fastest fair way that its manual knows.

One that isn't installed is left out of a run; `missing` says why, and what installs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import BENCH, Cores, Peer, accepts, free_port, running, store
from bench.scenarios import NCHAN, SOCKETIO, WS

JS = BENCH / "peers"
NCHAN_MODULES = [
    Path(folder) / "ngx_nchan_module.so"
    for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
]


def missing(name: str) -> str | None:
    """What a peer lacks here and the line that installs it, or None."""
    if name == NCHAN and not (shutil.which("nginx") and any(module.exists() for module in NCHAN_MODULES)):
        return "nginx with its Nchan module isn't installed: apt-get install nginx libnginx-mod-nchan"
    if name not in (SOCKETIO, WS):
        return None
    if not shutil.which("node"):
        return "node isn't installed: apt-get install nodejs npm && npm install --prefix bench/peers"
    package = "@socket.io/redis-streams-adapter" if name == SOCKETIO else "ws"
    if not (JS / "node_modules" / package).exists():
        return f"{package} isn't installed: npm install --prefix bench/peers"
    return None


@contextmanager
def nchan(folder: Path, core: int) -> Generator[Peer]:
    """nginx with one worker, messages in its own memory."""
    port = free_port()
    module = next(module for module in NCHAN_MODULES if module.exists())
    config = (JS / "nchan.conf").read_text().replace("@MODULE@", str(module)).replace("@PORT@", str(port))
    (folder / "nginx.conf").write_text(config)
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    with running("nchan", command, core) as process:
        # The master listens before it has a worker, and it is the worker that is measured.
        process.wait_until(lambda: len(process.pids) > 1 and accepts(port))
        yield Peer(process, port, kind="nchan")


@contextmanager
def socketio(folder: Path, cores: Cores) -> Generator[Peer]:
    """One Node process in front of a store like the Hub's."""
    port = free_port()
    with store(folder, cores.client) as (store_process, url):
        command = ["node", str(JS / "socketio.mjs"), str(port), url.removeprefix("unix://")]
        with running("socketio", command, cores.server) as process:
            process.wait_until(lambda: accepts(port))
            yield Peer(process, port, store=store_process, kind="socketio")


@contextmanager
def ws(core: int) -> Generator[Peer]:
    """One Node process that knows rooms and nothing else."""
    port = free_port()
    with running("ws", ["node", str(JS / "ws.mjs"), str(port)], core) as process:
        process.wait_until(lambda: accepts(port))
        yield Peer(process, port, kind="ws")
