"""Which addresses the hub may call."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.addresses import is_callable

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
          "192.0.1.0", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_routed_in_public_may_be_called(text: str) -> None:
    assert is_callable(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "0.1.2.3"),
        *("127.0.0.1", "127.255.255.254", "::1"),
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("100.64.0.1", "100.127.255.255"),
        *("169.254.0.1", "fe80::1", "fe80::1%eth0"),
        *("224.0.0.1", "239.255.255.255", "ff02::1"),
        *("255.255.255.255", "240.0.0.1"),
        *("fc00::1", "fdff::1", "fec0::1"),
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1", "3fff::1", "100::1", "5f00::1"),
        *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
        *("::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1"),
        *("2002:7f00:1::", "2002:808:808::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "192.88.99.1"),
    ],
)
def test_what_is_internal_or_may_stand_for_it_may_not(text: str) -> None:
    assert not is_callable(ipaddress.ip_address(text))


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_outside_of_what_is_routed_may_never(address: ipaddress.IPv6Address) -> None:
    if int(address) >> 125 != 1:
        assert not is_callable(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_that_python_calls_private_may_never(address: ipaddress.IPv4Address) -> None:
    if address.is_private or address.is_multicast or address.is_link_local or address.is_reserved:
        assert not is_callable(address)


def test_what_is_allowed_may_be_called_and_nothing_beside_it() -> None:
    allowed = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8"))
    for text, verdict in (("10.1.2.3", True), ("10.2.0.1", False), ("fd12::1", True), ("fc00::1", False),
                          ("::ffff:10.1.2.3", False), ("8.8.8.8", True)):  # fmt: skip
        assert is_callable(ipaddress.ip_address(text), allowed) is verdict


def test_translation_that_is_allowed_opens_nothing_internal_by_itself() -> None:
    nat64 = ipaddress.ip_network("64:ff9b::/96")
    public, internal = ipaddress.ip_address("64:ff9b::808:808"), ipaddress.ip_address("64:ff9b::a01:203")
    assert is_callable(public, (nat64,))
    assert not is_callable(internal, (nat64,))
    assert is_callable(internal, (nat64, ipaddress.ip_network("10.1.0.0/16")))
