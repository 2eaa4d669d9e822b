"""Which addresses the hub may call: what is routed in the public internet, and what the deployment allows besides.

Everything else is refused, known or not: an address that means another one (mapped, translated, tunnelled) could name
an internal host in a way that no list of internal networks holds. After the IANA special-purpose registries (RFC 6890).
"""

import ipaddress
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_INTERNAL_4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # "this host": Linux connects it to itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata too
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's host, though its address is a public one
            "169.254.0.0/16",  # link-local: cloud metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; a cloud's metadata too
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is routed as IPv6. Outside of it lie loopback, v4-mapped and v4-compatible addresses, NAT64, ULA, link-local
and multicast."""
_INTERNAL_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo (which holds an IPv4 address), ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which holds an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
_EMBEDDING: Final = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""Networks whose last 32 bits are the IPv4 address that is really reached: mapped, and NAT64 (RFC 6052)."""


def is_callable(address: Address, allowed: tuple[Network, ...] = ()) -> bool:
    """Whether the hub may connect to an address.

    Allowing a network of mapped or translated addresses opens it for those IPv4 addresses alone that are callable
    themselves, so `64:ff9b::/96` lets a machine without IPv4 reach the internet and nothing internal.
    """
    if any(address in network for network in allowed):
        embedded = _embedded(address)
        return embedded is None or is_callable(embedded, allowed)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _INTERNAL_4)
    return address in _GLOBAL_6 and not any(address in network for network in _INTERNAL_6)


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
