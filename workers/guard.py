"""The guard of outgoing connections: vets the address that is about to be dialled.

A URL's host says nothing certain about it: a name may stand for an internal address, or for another one each time that
it is asked (DNS rebinding), and resolvers take addresses in odd spellings. What is vetted here is what the kernel gets,
after every resolution, so none of that matters. A connection that is kept for reuse was vetted when it was made.
"""

import errno
import ipaddress
import socket
from typing import Any, Final

from hub.core.addresses import Network, is_callable

_TEXT: Final = "the address is not one that the hub calls (HUB_WEBHOOK_ALLOW_NETWORKS)"
"""Always the same, without the address: only so do several refusals of one name stay one error of this type."""


class AddressForbidden(OSError):
    """The address is internal, and not one that the deployment allows."""


class Guard:
    """Makes the sockets of a connector, for addresses that may be called."""

    def __init__(self, allowed: tuple[Network, ...]) -> None:
        self._allowed = allowed

    def dial(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an element of getaddrinfo's result; raises AddressForbidden."""
        family, kind, protocol, _, place = info
        if family not in (socket.AF_INET, socket.AF_INET6) or not is_callable(
            ipaddress.ip_address(place[0]), self._allowed
        ):
            raise AddressForbidden(errno.EACCES, _TEXT)
        return socket.socket(family, kind, protocol)
