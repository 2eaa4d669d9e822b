"""The socket that a deployment's web processes listen on."""

import errno
import socket
from typing import Final

BACKLOG: Final = 2048


class StartError(Exception):
    """The start can't succeed; the message says why and what to do."""


class PortUnusable(StartError):
    """The address can't be listened on. `is_taken` when something else does."""

    def __init__(self, what: str, mend: str, *, is_taken: bool = False) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend
        self.is_taken = is_taken


def listen(host: str, port: int) -> socket.socket:
    """The listening socket that all web processes share: nothing is refused while one of them starts again."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as exc:
        raise PortUnusable(f"--host {host} can't be used: {exc.strerror}", "choose another --host") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        is_taken = exc.errno == errno.EADDRINUSE
        mend = "stop what listens there, or choose" if is_taken else "choose"
        what = f"Port {port} on {host} can't be used: {exc.strerror}"
        raise PortUnusable(what, f"{mend} another --port or --host", is_taken=is_taken) from None
    return sock


def url_of(host: str, port: int) -> str:
    """How a client on this machine reaches what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
