"""Connections to partners: dialled when none is idle, each address vetted, and kept for a moment."""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Final, TypeAlias

import aiohappyeyeballs

from workers.connection import Connection, Origin
from workers.resolver import Info

KEEPALIVE: Final = 4.0
"""Seconds that an idle connection is kept. Servers commonly close theirs after 5, and a POST that meets a closing
connection has to be counted as failed."""
MOST_IDLE: Final = 2000
"""Idle connections in all; with TLS each takes some 50 KB. Beyond them the one that was used longest ago is closed."""
NAMES_KEPT: Final = 10.0
"""Seconds that a name's addresses are kept."""
_MOST_NAMES: Final = 10_000
_SWEEP: Final = 1.0
_SECOND_ADDRESS: Final = 0.25
"""Seconds after which the next address is tried beside the one before (RFC 8305, section 5)."""

Resolve: TypeAlias = Callable[[str, int], Coroutine[None, None, Sequence[Info]]]


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for the process: it takes 0.1 s to read the authorities."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """`dial` makes the socket for an address, or raises where it must not be called; `resolve` asks for a name's."""

    def __init__(self, dial: Callable[[Info], socket.socket], resolve: Resolve) -> None:
        self._loop = asyncio.get_running_loop()
        self._dial = dial
        self._resolve = resolve
        self._tls = _tls()
        self._idle: dict[Origin, dict[Connection, None]] = {}
        self._by_age: OrderedDict[Connection, None] = OrderedDict()
        """The same, that which was used longest ago first."""
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[Sequence[Info]]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def close(self) -> None:
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in [task for _, task in self._names.values()]:
            task.cancel()
        for connection in list(self._by_age):
            connection.close()

    @property
    def idle(self) -> int:
        """Idle connections in all."""
        return len(self._by_age)

    def take(self, origin: Origin) -> Connection | None:
        """The idle connection that was used last, if there is one."""
        while waiting := self._idle.get(origin):
            connection = next(reversed(waiting))
            self._forget(connection)
            if connection.is_open:
                return connection
        return None

    async def connect(self, origin: Origin) -> Connection:
        """A new connection. Raises OSError: socket.gaierror for the name, ssl.SSLError for TLS, what `dial` raises."""
        infos = await self._addresses(origin.host, origin.port)
        sock = await aiohappyeyeballs.start_connection(
            infos, happy_eyeballs_delay=_SECOND_ADDRESS, interleave=1, socket_factory=self._dial
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(origin, self._ended),
                sock=sock,
                ssl=self._tls if origin.tls else None,
                server_hostname=origin.host.rstrip(".") if origin.tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    # -- names -------------------------------------------------------------------------------------------------------

    async def _addresses(self, host: str, port: int) -> Sequence[Info]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return await self._look_up(host, port)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        place = (host, port) if address.version == 4 else (host, port, 0, 0)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)]

    async def _look_up(self, host: str, port: int) -> Sequence[Info]:
        """One look-up serves all who want the name now."""
        now, name = self._loop.time(), (host, port)
        until, task = self._names.get(name, (0.0, None))
        if task is None or until < now:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            task = asyncio.ensure_future(self._resolve(host, port))
            self._names[name] = (now + NAMES_KEPT, task)
        try:
            return await asyncio.shield(task)
        except OSError:
            if self._names.get(name, (0.0, None))[1] is task:
                del self._names[name]
            raise

    # -- idle connections --------------------------------------------------------------------------------------------

    def _ended(self, connection: Connection) -> None:
        """An exchange is over, or the connection is."""
        if not connection.is_open:
            if connection in self._by_age:
                self._forget(connection)
            return
        if self._closed:
            connection.close()
            return
        if len(self._by_age) >= MOST_IDLE:
            self._close(next(iter(self._by_age)))
        connection.idle_since = self._loop.time()
        self._idle.setdefault(connection.origin, {})[connection] = None
        self._by_age[connection] = None
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        oldest = self._loop.time() - KEEPALIVE
        while self._by_age and (connection := next(iter(self._by_age))).idle_since < oldest:
            self._close(connection)
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep) if self._by_age else None

    def _close(self, connection: Connection) -> None:
        self._forget(connection)  # now: the end of a connection is told later
        connection.close()

    def _forget(self, connection: Connection) -> None:
        """It is idle no more."""
        del self._by_age[connection]
        waiting = self._idle[connection.origin]
        del waiting[connection]
        if not waiting:
            del self._idle[connection.origin]
