"""Where the store is: an address from HUB_REDIS_URL, or the master that Sentinels name now; and how to get there."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from hub.core.errors import StoreUnavailable
from hub.store.wire import Wire

CONNECT_TIMEOUT: Final = 1.0
"""Seconds that a connection, or a Sentinel's answer, may take."""
_OTHERS_WITHIN: Final = 0.1
"""Seconds that the other Sentinels have once one has named a master."""
_Answer: TypeAlias = tuple[str, int] | str


class Address(msgspec.Struct, frozen=True):
    """Where one Redis listens, and how to log in there."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 6379
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: bool = False


def resolver(url: str) -> Callable[[], Awaitable[Address]]:
    """A function that finds the address to connect to now; with Sentinel that is the present master."""
    if url.startswith("redis+sentinel://"):
        return _sentinel(url)
    address = _address(url)

    async def fixed() -> Address:
        return address

    return fixed


def _address(url: str) -> Address:
    """`redis(s)://[[USER]:PASSWORD@]HOST[:PORT][/DB]` or `unix://PATH`, either with `?db=&username=&password=`."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    database = query.get("db") or (parts.path.strip("/") if parts.scheme != "unix" else "") or "0"
    found = Address(
        username=query.get("username") or _plain(parts.username),
        password=query.get("password") or _plain(parts.password),
        database=int(database),
        tls=parts.scheme == "rediss",
    )
    if parts.scheme == "unix":
        return msgspec.structs.replace(found, path=unquote(parts.path))
    return msgspec.structs.replace(found, host=_plain(parts.hostname) or found.host, port=parts.port or found.port)


def _plain(text: str | None) -> str | None:
    return unquote(text) if text else None


def _sentinel(url: str) -> Callable[[], Awaitable[Address]]:
    parts = urlsplit(url)
    hosts = [host.rpartition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    nodes = [(host or port, int(port) if host else 26379) for host, _, port in hosts]
    service = parts.path.strip("/") or "mymaster"

    username, password = _plain(parts.username), _plain(parts.password)

    async def master() -> Address:
        # All at once: one that hangs must not keep the others from naming the new master. They may disagree after a
        # failover: the next try may then take another answer.
        asking = [asyncio.create_task(_ask(node, service)) for node in nodes]
        try:
            answers = await _first(asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        masters = sorted({answer for answer in answers if isinstance(answer, tuple)})
        if not masters:
            raise StoreUnavailable(f"No Sentinel names a master of {service}: {'; '.join(map(str, answers))}")
        host, port = random.choice(masters)
        return Address(host=host, port=port, username=username, password=password)

    return master


async def _first(asking: Collection[asyncio.Task[_Answer]]) -> list[_Answer]:
    """What was answered until shortly after the first master was named."""
    pending: Collection[asyncio.Task[_Answer]] = asking
    answers: list[_Answer] = []
    while pending:
        named = any(isinstance(answer, tuple) for answer in answers)
        done, pending = await asyncio.wait(
            pending, timeout=_OTHERS_WITHIN if named else None, return_when=asyncio.FIRST_COMPLETED
        )
        answers += [task.result() for task in done]
        if not done:
            break
    return answers


async def _ask(node: tuple[str, int], service: str) -> _Answer:
    """The master that one Sentinel knows, or why it names none."""
    # Only here: importing it takes as long as a fifth of all the rest.
    from redis.asyncio.sentinel import Sentinel
    from redis.exceptions import RedisError

    sentinel: Any = Sentinel([node], socket_timeout=CONNECT_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT)
    try:
        return await sentinel.discover_master(service)
    except (RedisError, OSError, TimeoutError) as exc:
        return str(exc)
    finally:
        for client in sentinel.sentinels:
            await client.aclose()


async def dial(address: Address, make: Callable[[], Wire]) -> Wire:
    """A connection to the address, over TLS where it says so. Raises OSError."""
    loop = asyncio.get_running_loop()
    if address.path is not None:
        return (await loop.create_unix_connection(make, address.path))[1]
    context = ssl.create_default_context() if address.tls else None
    return (await loop.create_connection(make, address.host, address.port, ssl=context))[1]


async def log_in(wire: Wire, address: Address) -> None:
    if address.password is not None:
        await wire.send("AUTH", *filter(None, (address.username, address.password)))
    if address.database:
        await wire.send("SELECT", address.database)
