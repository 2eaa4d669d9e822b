"""One HTTP try: POST the bytes, read the answer, and say in stable words how it went."""

import asyncio
import socket
import ssl
from collections import OrderedDict
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from hub.core.addresses import Network
from workers.connection import Broken, Origin
from workers.guard import AddressForbidden, Guard
from workers.pool import Pool
from workers.proxied import Proxied
from workers.resolver import Resolver

_PLACES: Final = 10_000


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


class _Place(NamedTuple):
    """Where a URL leads, and how a request to it begins, behind its method."""

    origin: Origin
    head: str


class Sender:
    """Sends over one shared pool of connections: no cookies, no redirects, no proxy but the configured one.

    Each connection's address is vetted when it is dialled. With a proxy, which then chooses the addresses, none is.
    `name_server` is asked for names in place of the machine's.
    """

    def __init__(
        self,
        user_agent: str,
        *,
        allowed: tuple[Network, ...] = (),
        proxy: str | None = None,
        name_server: tuple[str, int] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._user_agent = user_agent
        self._proxied = Proxied(user_agent, proxy) if proxy else None
        self._resolver = Resolver(name_server)
        self._pool = Pool(Guard(allowed).dial, self._resolver.look_up)
        self._places: OrderedDict[str, _Place] = OrderedDict()

    async def close(self) -> None:
        self._pool.close()
        await self._resolver.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, timeout: float, method: str = "POST"
    ) -> Answer:
        """Send once. The deadline, in seconds, is over everything: name, connection, headers and body."""
        started = self._loop.time()
        if self._proxied is None:
            status, head, text, error = await self._direct(method, url, headers, body, started + timeout)
        else:
            status, head, text, error = await self._proxied.exchange(method, url, headers, body, timeout)
        if error is None:
            error = "protocol" if status is None else error_of(status)
        duration_ms = round((self._loop.time() - started) * 1000)
        return Answer(duration_ms, status, error, head, text.decode(errors="replace") if error and text else None)

    async def _direct(
        self, method: str, url: str, headers: dict[str, str], body: bytes, deadline: float
    ) -> tuple[int | None, dict[str, str], bytes, str | None]:
        try:
            place = self._places.get(url) or self._find(url)
            request = _request(f"{method}{place.head}", headers, body)
            connection = self._pool.take(place.origin)
            if connection is None:
                async with asyncio.timeout_at(deadline):
                    connection = await self._pool.connect(place.origin)
            reply = await connection.exchange(request, deadline)
            return reply.status, reply.headers, reply.body, None
        except Broken as exc:
            return exc.reply.status, exc.reply.headers, b"", exc.code
        except (TimeoutError, OSError, ValueError) as exc:
            return None, {}, b"", code_of(exc)

    def _find(self, url: str) -> _Place:
        """Raises ValueError for what is no URL to send to."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(one) <= 32 for one in url):
            raise ValueError(url)
        tls = parts.scheme == "https"
        origin = Origin(tls, parts.hostname, parts.port or (443 if tls else 80))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        if origin.port != (443 if tls else 80):
            host = f"{host}:{origin.port}"
        head = f" {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {self._user_agent}\r\nAccept: */*\r\n"
        if len(self._places) >= _PLACES:
            self._places.popitem(last=False)
        self._places[url] = place = _Place(origin, head)
        return place


def _request(head: str, headers: dict[str, str], body: bytes) -> bytes:
    """A whole request. Raises ValueError where a header would be more than one line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header holds a line break")
    return f"{head}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def error_of(status: int) -> str | None:
    """The error that a complete answer means: None for 2xx."""
    if 200 <= status < 300:
        return None
    return "redirect" if 300 <= status < 400 else "status"


def code_of(exc: BaseException) -> str:
    """The stable code of what kept a connection from being made."""
    if isinstance(exc, TimeoutError):
        return "timeout"
    if isinstance(exc, socket.gaierror):
        return "dns"
    if isinstance(exc, ssl.SSLError):
        return "tls"
    if isinstance(exc, OSError):
        return "forbidden" if isinstance(exc, AddressForbidden) else "connect"
    return "protocol"
