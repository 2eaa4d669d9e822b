"""Which URLs an endpoint may have."""

import ipaddress

import pytest

from hub.core.errors import EndpointUrlForbidden, Invalid
from hub.core.target_url import UrlRules, check_url

LOOPBACK = UrlRules(allow_http=True, allowed=(ipaddress.ip_network("127.0.0.0/8"),))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/a/b?c=d&e=%20f",
        "https://example.com:444/",
        "https://sub_domain.example-1.com/",
        "https://93.184.215.14/x",
        "https://[2606:4700::1111]:8080/x",
        "https://xn--bcher-kva.example/",
        "https://1.example.com./",
        "https://0x7f.example/",
    ],
)
def test_a_plain_https_url_is_taken(url: str) -> None:
    check_url(url, UrlRules())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hooks",
        "https://",
        "https:///hooks",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:http/",
        "https://exa mple.com/",
        "https://bücher.example/",
        "https://example.com/\r\nx: y",
        "https://example.com\\@evil.example/",
        "https://-example.com/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://example.com/" + "x" * 2048,
        "javascript:alert(1)",
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_url(url, LOOPBACK)
    assert refused.value.details[0].field == "url"


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/"),
        *(
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://10.0.0.1:8443/",
            "https://169.254.169.254/latest/meta-data/",
        ),
        *("https://[::ffff:127.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[fd00:ec2::254]/", "https://0.0.0.0/"),
        *("https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://017700000001/", "https://127.1/"),
        *("https://0177.0.0.1/", "https://127.0.0.1./", "https://1.2.3.256/", "https://1.2.3.4.5/", "https://a.0x/"),
        *("https://example.com:25/", "https://example.com:22/", "https://93.184.215.14:6667/"),
    ],
)
def test_what_must_not_be_called_has_its_own_code(url: str) -> None:
    with pytest.raises(EndpointUrlForbidden) as refused:
        check_url(url, UrlRules())
    assert refused.value.details[0].field == "url"


def test_what_the_deployment_allows_is_taken_on_any_port_and_nothing_beside_it() -> None:
    for url in ("http://127.0.0.1:9/", "http://127.8.8.8:25/", "http://example.com/"):
        check_url(url, LOOPBACK)
    for url in ("http://[::1]/", "http://10.0.0.1/", "http://2130706433/", "http://example.com:25/"):
        with pytest.raises(EndpointUrlForbidden):
            check_url(url, LOOPBACK)
