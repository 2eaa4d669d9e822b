"""What a live connection's socket is set to, and how long its end may take."""

import asyncio
import socket
from typing import Final

FORCE_AFTER: Final = 5.0
"""Seconds that a client has to take its close; one that reads nothing would keep the socket for ever."""
_NOTSENT_LOWAT: Final = 128 * 1024
_USER_TIMEOUT_MS: Final = 30_000
_HIGH_WATER: Final = 64 * 1024


def tune(transport: asyncio.Transport) -> None:
    """See a slow reader early (the kernel would hide it behind megabytes), and one that vanished."""
    transport.set_write_buffer_limits(_HIGH_WATER)
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for name, value in (("TCP_NOTSENT_LOWAT", _NOTSENT_LOWAT), ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
