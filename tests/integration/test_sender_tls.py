"""Over TLS a partner has to prove who it is before it gets anything: real handshakes, certificates of our own."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.dns import NameServer
from tests.support.nginx import make_certificate
from tests.support.receiver import OK
from workers import pool
from workers.sender import Answer, Sender

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Partner:
    """Serves TLS on loopback with a certificate for 127.0.0.1; `got` is what came through."""

    def __init__(self, folder: Path) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "hub.pem", folder / "hub.key")
        self._tls.set_alpn_protocols(["h2", "http/1.1"])
        self.got: list[bytes] = []
        self.spoken: str | None = None
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._one, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        self.got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def partner(tmp_path: Path) -> AsyncIterator[Partner]:
    make_certificate(tmp_path)
    opened = Partner(tmp_path)
    async with await opened.serve():
        yield opened


@pytest.fixture
def trusted(partner: Partner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Partner]:
    """The same, on a machine that trusts who signed its certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "hub.pem"))
    pool._tls.cache_clear()  # pyright: ignore[reportPrivateUsage]
    yield partner
    pool._tls.cache_clear()  # pyright: ignore[reportPrivateUsage]


async def post(url: str, name_server: tuple[str, int] | None = None) -> Answer:
    sender = Sender("Test", allowed=LOOPBACK, name_server=name_server)
    try:
        return await sender.send(url, {"webhook-id": "evt_1"}, b"{}", 5)
    finally:
        await sender.close()


async def test_a_certificate_that_nobody_vouches_for_gets_nothing(partner: Partner) -> None:
    sent = await post(f"https://127.0.0.1:{partner.port}/hook")
    assert (sent.status, sent.error) == (None, "tls")
    assert partner.got == []


async def test_a_certificate_that_is_vouched_for_is_taken_for_its_own_name_alone(trusted: Partner) -> None:
    sent = await post(f"https://127.0.0.1:{trusted.port}/hook")
    assert (sent.status, sent.error) == (200, None)
    assert trusted.got[0].startswith(b"POST /hook HTTP/1.1\r\n")
    assert trusted.spoken == "http/1.1"
    async with NameServer(lambda _: ["127.0.0.1"]) as names:
        sent = await post(f"https://partner.example:{trusted.port}/hook", names.place)
    assert (sent.status, sent.error) == (None, "tls")
    assert len(trusted.got) == 1
