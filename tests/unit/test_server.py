"""How the web process accepts."""

import asyncio
import os
import socket

import uvloop

from hub.web.server import ACCEPTS, listeners

CLIENTS = 10 * ACCEPTS


class Counted(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counted.made += 1
        transport.close()


def test_many_connections_are_accepted_in_a_turn_of_the_loop() -> None:
    """Counted in turns: how long one takes is up to what else it has to do."""

    async def turns() -> int:
        loop = asyncio.get_running_loop()
        sock = socket.create_server(("127.0.0.1", 0), backlog=CLIENTS)
        servers = [await loop.create_server(Counted, sock=one, backlog=CLIENTS) for one in listeners(sock)]
        clients = [socket.create_connection(sock.getsockname()) for _ in range(CLIENTS)]
        count = 0
        while Counted.made < CLIENTS:
            count += 1
            await asyncio.sleep(0)
        for one in (*servers, *clients):
            one.close()
        return count

    assert uvloop.run(turns()) <= 2 * CLIENTS // ACCEPTS


def test_what_other_processes_accept_from_as_well_stays_as_it_is() -> None:
    """One that blocks would hang whichever process comes second to a connection."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        os.set_blocking(sock.fileno(), False)  # as another process's loop has it
        for one in listeners(sock)[1:]:
            assert not os.get_blocking(one.fileno())
            one.close()
