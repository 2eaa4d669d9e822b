"""The client's address is the peer's, or what trusted proxies wrote; never what the client says of itself."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.client_address import client_address, counted_as

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy of ours: whatever it says
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # the first was written by the client
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.0.0.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.0.0.1", "198.51.100.1, unknown, 10.2.2.2", "10.2.2.2"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::7]:80", "2001:db8::7"),
        (None, "198.51.100.1", "198.51.100.1"),  # a Unix socket: whoever may open it is on this machine
        (None, "", "local"),
    ],
)
def test_the_last_address_before_the_trusted_ones_is_the_clients(peer: str | None, forwarded: str, found: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == found


def test_nobody_is_trusted_unless_told() -> None:
    assert client_address("127.0.0.1", "198.51.100.1", ()) == "127.0.0.1"
    assert client_address(None, "198.51.100.1", ()) == "local"


def test_a_network_of_ipv6_is_one_client() -> None:
    assert counted_as("2001:db8:0:1:aaaa::1") == counted_as("2001:db8:0:1:bbbb::2") == "2001:db8:0:1::/64"
    assert counted_as("198.51.100.1") == "198.51.100.1"
    assert counted_as("local") == "local"


@given(st.text(), st.text())
def test_no_header_breaks_it(peer: str, forwarded: str) -> None:
    client_address(peer, forwarded, TRUSTED)
    assert client_address("203.0.113.9", forwarded, TRUSTED) == "203.0.113.9"
