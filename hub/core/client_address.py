"""Who a request comes from: the peer, or whom proxies that the deployment trusts say that it came from."""

import functools
import ipaddress

from hub.core.addresses import Address, Network

MAX_HOPS = 32
UNKNOWN = "local"
"""The peer of a Unix socket, which has no address."""


@functools.lru_cache(4096)
def client_address(peer: str | None, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """The client's address. `forwarded` is the whole X-Forwarded-For, of which each proxy adds its peer to the end.

    It is read from the end, for as long as the address before was a trusted proxy's: what is in front of those was
    written by whoever likes to. A part that is no address ends it. An IPv4 address in an IPv6 one is that address.
    """
    found = None if peer is None else parse(peer)
    if not trusted or not (found is None or _is_in(found, trusted)):
        return UNKNOWN if found is None else str(found)
    for part in reversed(forwarded.split(",")[-MAX_HOPS:]):
        named = parse(part.strip())
        if named is None:
            break
        found = named
        if not _is_in(named, trusted):
            break
    return UNKNOWN if found is None else str(found)


def counted_as(address: str) -> str:
    """What a limit by address counts together: an IPv6 client has a whole /64 (RFC 6177), so that is one."""
    found = parse(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return address


def parse(text: str) -> Address | None:
    """An address, with or without a port behind it (`10.0.0.1:80`, `[::1]:80`); None where it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
