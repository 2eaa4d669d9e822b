"""Attempts by way of a proxy, which then chooses the addresses: by aiohttp, which knows proxies."""

import asyncio
import ssl

import aiohttp
from yarl import URL

from hub.store.attempts import MAX_BODY
from workers.connection import MAX_HEADER_VALUE, MAX_HEADERS, MEANT
from workers.pool import KEEPALIVE


class Proxied:
    """One session over the configured proxy: no cookies, no redirects."""

    def __init__(self, user_agent: str, proxy: str) -> None:
        self._session = aiohttp.ClientSession(
            proxy=proxy,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": user_agent},
            skip_auto_headers=("Accept-Encoding",),
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes, timeout: float
    ) -> tuple[int | None, dict[str, str], bytes, str | None]:
        """Status, headers, body and error of one try (see sender.py)."""
        status: int | None = None
        head: dict[str, str] = {}
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.request(
                    method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                status, head = response.status, _kept(response)
                return status, head, await _read(response), None
        except (TimeoutError, OSError, aiohttp.ClientError, ValueError) as exc:
            return status, head, b"", code_of(exc)


def code_of(exc: BaseException) -> str:
    """The stable code of what went wrong."""
    if isinstance(exc, TimeoutError):
        return "timeout"
    if isinstance(exc, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "tls"
    if isinstance(exc, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)):
        return "proxy"
    if isinstance(exc, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)):
        return "reset"
    return "protocol"


def _kept(response: aiohttp.ClientResponse) -> dict[str, str]:
    pairs = [(name.lower(), value[:MAX_HEADER_VALUE]) for name, value in response.headers.items()]
    return dict([*pairs[:MAX_HEADERS], *(pair for pair in pairs[MAX_HEADERS:] if pair[0] in MEANT)])


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
