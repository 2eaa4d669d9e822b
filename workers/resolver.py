"""Names of partners, asked for without a thread for each: a name whose servers hang holds up no other.

The loop's own `getaddrinfo` has a few threads (libuv's two, for names), so a handful of names that hang would keep all
deliveries from being sent. c-ares waits for any number at once. It knows the machine's resolv.conf and hosts file.
"""

import re
import socket
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import aiodns

TRY: Final = 2.0
"""Seconds that a server has at first; a second try follows."""
TRIES: Final = 2

_NUMBER = re.compile(r"(^|\.)(\d+|0[xX][0-9a-fA-F]*)\.?$")

Info: TypeAlias = tuple[Any, ...]
"""An element of getaddrinfo's result."""


class Resolver:
    """`server` is an address and a port in place of the machine's name servers."""

    def __init__(self, server: tuple[str, int] | None = None) -> None:
        own: dict[str, Any] = {} if server is None else {"nameservers": [server[0]], "udp_port": server[1]}
        self._resolver = aiodns.DNSResolver(timeout=TRY, tries=TRIES, **own)

    async def close(self) -> None:
        await self._resolver.close()

    async def look_up(self, host: str, port: int) -> Sequence[Info]:
        """The addresses of a name. Raises socket.gaierror.

        A host that ends in a number is an odd spelling of an address, and no name (URL standard, "ends in a number").
        """
        if _NUMBER.search(host):
            raise socket.gaierror(socket.EAI_NONAME, "no name ends in a number")
        try:
            found = await self._resolver.getaddrinfo(host, socket.AF_UNSPEC, port, type=socket.SOCK_STREAM)
        except (aiodns.error.DNSError, UnicodeError) as exc:
            raise socket.gaierror(socket.EAI_NONAME, str(exc)) from None
        infos: list[Info] = [
            (node.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (node.addr[0].decode(), *node.addr[1:]))
            for node in found.nodes
            if node.family in (socket.AF_INET, socket.AF_INET6)
        ]
        if not infos:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return infos
