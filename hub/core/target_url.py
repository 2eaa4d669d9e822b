"""The URLs that endpoints may have, as far as a URL by itself tells. What a name stands for is judged on each dial."""

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hub.core.addresses import Address, Network, is_callable
from hub.core.errors import Detail, EndpointUrlForbidden, Invalid

MAX_URL: Final = 2048
_PLAIN_URL = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # RFC 3986, section 2: no quotes, brackets <> {}, \\ ^ ` |
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_OTHER_SERVICES: Final = frozenset(
    (1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
     111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
     540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
     6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080)
)  # fmt: skip
"""Ports of services that could take a request for their own protocol, mail above all: the list by which browsers refuse
them (Fetch, "port blocking")."""


class UrlRules(NamedTuple):
    """What the deployment allows: plain http, and networks that are reached although they are internal."""

    allow_http: bool = False
    allowed: tuple[Network, ...] = ()


def check_url(url: str, rules: UrlRules) -> None:
    """Raise Invalid unless the URL is one that attempts can be sent to; EndpointUrlForbidden where they must not be."""
    if len(url) > MAX_URL:
        raise Invalid.field("url", f"has {len(url)} characters; allowed are {MAX_URL}")
    try:
        if not _PLAIN_URL.fullmatch(url):
            raise ValueError
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Invalid.field("url", "is not a URL such as https://example.com/hooks, in visible ASCII") from None
    if parts.scheme not in ("http", "https"):
        raise _forbidden(f"the scheme {parts.scheme[:20]!r} is not allowed; use https")
    if parts.scheme == "http" and not rules.allow_http:
        raise _forbidden("http is not allowed here (HUB_WEBHOOK_ALLOW_HTTP); use https")
    if not _HOST.fullmatch(host) or len(host) > 253 or port == 0:
        raise Invalid.field(
            "url", "must name a host (an international name in its xn-- form) and, if any, a port from 1 on"
        )
    if "@" in parts.netloc:
        raise Invalid.field("url", "must not hold a user or password; send a header instead")
    if "#" in url:
        raise Invalid.field("url", "must not have a fragment; it would never be sent")
    _check_place(host, port, rules)


def _check_place(host: str, port: int | None, rules: UrlRules) -> None:
    address = _literal(host)
    if address is not None:
        if not is_callable(address, rules.allowed):
            raise _forbidden(f"{host} is not a public address, and not one of HUB_WEBHOOK_ALLOW_NETWORKS")
        if any(address in network for network in rules.allowed):
            return
    if port in _OTHER_SERVICES:
        raise _forbidden(f"port {port} is another service's; use 443, or one from 1024 on")


def _literal(host: str) -> Address | None:
    """The address that a host is, None for a name.

    The other spellings that resolvers take, `0x7f.1` or `2130706433`, are refused: a host whose last label is a number
    is never a name (URL standard, "ends in a number").
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise _forbidden(f"{host[:60]} is no address as it is usually written, such as 93.184.215.14") from None
        return None


def _forbidden(message: str) -> EndpointUrlForbidden:
    return EndpointUrlForbidden(f"url: {message}", (Detail("url", message),))
