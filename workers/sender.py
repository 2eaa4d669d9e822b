"""One HTTP try: POST the bytes, read the answer, and say in stable words how it went."""

import asyncio
import ssl
import time
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from hub.core.addresses import Network
from hub.store.attempts import MAX_BODY
from workers.guard import AddressForbidden, Guard

KEEPALIVE: Final = 4.0
"""Seconds that an idle connection is kept. Servers commonly close theirs after 5, and a POST that meets a closing
connection has to be counted as failed."""
_MAX_HEADERS: Final = 40
_MAX_HEADER_VALUE: Final = 512


class Answer(msgspec.Struct, frozen=True):
    """How a try went. Without `error` it was answered 2xx; `status` is None where nothing was answered.

    Errors: `timeout`, `dns`, `forbidden` (an address that the hub doesn't call), `connect`, `proxy` (the one on the way
    out), `tls`, `reset` (the connection broke off), `protocol` (not HTTP, or cut short), `redirect` (3xx, never
    followed), `status` (any other answer). Where the secret couldn't be opened nothing is sent,
    and the error is `secret`.
    """

    duration_ms: int
    status: int | None = None
    error: str | None = None
    headers: dict[str, str] = {}
    body: str | None = None


class Sender:
    """Sends over one shared pool of connections: no cookies, no redirects, no proxy but the configured one.

    Each connection's address is vetted when it is dialled. With a proxy, which then chooses the addresses, none is.
    """

    def __init__(self, user_agent: str, *, allowed: tuple[Network, ...] = (), proxy: str | None = None) -> None:
        dial = None if proxy else Guard(allowed).dial
        self._session = aiohttp.ClientSession(
            proxy=proxy,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE, socket_factory=dial),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": user_agent},
            skip_auto_headers=("Accept-Encoding",),
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> Answer:
        """POST once. The deadline, in seconds, is over everything: name, connection, headers and body."""
        started = time.monotonic()
        status: int | None = None
        head: dict[str, str] = {}
        text = b""
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.post(
                    URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                status, head = response.status, _kept(response)
                text = await _read(response)
            error = error_of(status)
        except (TimeoutError, OSError, aiohttp.ClientError, ValueError) as exc:
            error = code_of(exc)
        duration_ms = round((time.monotonic() - started) * 1000)
        return Answer(duration_ms, status, error, head, text.decode(errors="replace") if error and text else None)


def error_of(status: int) -> str | None:
    """The error that a complete answer means: None for 2xx."""
    if 200 <= status < 300:
        return None
    return "redirect" if 300 <= status < 400 else "status"


def code_of(exc: BaseException) -> str:
    """The stable code of what went wrong."""
    if isinstance(exc, TimeoutError):
        return "timeout"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(exc, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "tls"
    if isinstance(exc, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        return "proxy"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return "forbidden" if isinstance(exc.os_error, AddressForbidden) else "connect"
    if isinstance(exc, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)):
        return "reset"
    return "protocol"


def _kept(response: aiohttp.ClientResponse) -> dict[str, str]:
    pairs = list(response.headers.items())[:_MAX_HEADERS]
    return {name.lower(): value[:_MAX_HEADER_VALUE] for name, value in pairs}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body up to what is kept. A longer one costs its connection, which is cheaper than reading it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            break
    return b"".join(chunks)[:MAX_BODY]
