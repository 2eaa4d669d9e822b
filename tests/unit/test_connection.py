"""The write path over a real socket: on TLS nothing goes past the transport, and a client that lags is seen."""

import asyncio
import ssl
from pathlib import Path
from typing import cast

import pytest

from hub.live.connection import RawConnection, RawPath
from tests.support.nginx import make_certificate


class Raw(asyncio.Protocol):
    """What the server is to a connection."""

    transport: asyncio.Transport
    connection: RawConnection

    def __init__(self, opened: "asyncio.Queue[Raw]") -> None:
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.connection = RawConnection(cast("RawPath", self), "ws", 25)
        self._opened.put_nowait(self)

    def attach(self, connection: RawConnection) -> None:
        """It is told of nothing here."""

    def close_live(self, code: int, reason: str) -> None:
        self.transport.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_bytes_go_straight_to_the_socket_unless_they_must_be_encrypted(tmp_path: Path, encrypted: bool) -> None:
    make_certificate(tmp_path)
    ours = theirs = None
    if encrypted:
        ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ours.load_cert_chain(tmp_path / "hub.pem", tmp_path / "hub.key")
        theirs.load_verify_locations(tmp_path / "hub.pem")
    opened: asyncio.Queue[Raw] = asyncio.Queue()
    server = await asyncio.get_running_loop().create_server(lambda: Raw(opened), "127.0.0.1", 0, ssl=ours)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=theirs)
    raw = await opened.get()
    for _ in range(3):
        raw.connection.write(b"event")
    assert await reader.readexactly(15) == b"eventeventevent"
    assert (raw.connection.direct is None) is encrypted
    writer.transport.abort()
    raw.transport.abort()
    server.close()
