"""The write path over a real socket: on TLS nothing goes past the transport, and a client that lags is seen."""

import asyncio
import ssl
from pathlib import Path
from typing import cast

import pytest

from hub.live.connection import SLOW_BYTES, PlainConnection, RawConnection, RawPath
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


# -- on a server without the raw path ----------------------------------------------------------------------------------


async def test_what_is_written_waits_for_a_plain_server_and_that_it_waits_is_seen() -> None:
    loop = asyncio.get_running_loop()
    connection = PlainConnection("sse", 15)
    await asyncio.wait_for(connection.drained(), 1)
    assert connection.slow_for(loop.time()) == 0
    for text in (b"one", b"two"):
        connection.write(text)
    assert connection.slow_for(loop.time() + 9) >= 9
    waiting = asyncio.ensure_future(connection.drained())
    chunks = connection.chunks()
    assert await anext(chunks) == b"one"
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await anext(chunks) == b"two"
    third = asyncio.ensure_future(anext(chunks))  # asked for once the second was sent
    await asyncio.wait_for(waiting, 1)
    assert connection.slow_for(loop.time() + 9) == 0
    connection.write(b"three")
    assert await third == b"three"
    connection.write(b"last")
    connection.close(1012, "retry=1")
    connection.write(b"not written any more")
    assert [chunk async for chunk in chunks] == [b"last"]
    assert connection.ended == (1012, "retry=1")


async def test_who_takes_nothing_of_a_plain_server_is_closed_by_bytes() -> None:
    connection = PlainConnection("ws", 25)
    chunks = connection.chunks()
    for _ in range(SLOW_BYTES // 1024):
        connection.write(b"x" * 1024)
    waiting = asyncio.ensure_future(connection.drained())
    await asyncio.sleep(0)
    assert not connection.closed
    connection.write(b"x")
    assert connection.ended == (4008, "slow consumer")
    await asyncio.wait_for(waiting, 1)
    assert [chunk async for chunk in chunks] == []
