"""The handshake of CloudEvents' web hooks: what is asked, and what an answer means."""

import pytest

from hub.core.endpoint import EndpointInput, RateLimit, create
from hub.core.errors import Invalid
from hub.core.handshake import Granted, Refused, introduction, judge, origin_of, question, window
from hub.core.target_url import UrlRules

ORIGIN = "hub.example"


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        ({"webhook-allowed-origin": "*"}, None),
        ({"webhook-allowed-origin": " HUB.example "}, None),
        ({"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "*"}, None),
        ({"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "120"}, 120),
    ],
)
def test_an_answer_agrees_by_naming_the_origin_or_all(headers: dict[str, str], rate: int | None) -> None:
    assert judge(ORIGIN, 204, None, headers) == Granted(rate)


@pytest.mark.parametrize(
    ("status", "error", "headers", "said"),
    [
        (200, None, {}, "it answered 200 without WebHook-Allowed-Origin"),
        (
            200,
            None,
            {"webhook-allowed-origin": "o.example"},
            "it allows 'o.example', and this is 'hub.example'",
        ),
        (200, None, {"webhook-allowed-origin": "*.example"}, "it allows '*.example'"),
        (405, "status", {"webhook-allowed-origin": "*"}, "it answered 405"),
        (301, "redirect", {"webhook-allowed-origin": "*"}, "it answered 301"),
        (None, "timeout", {}, "no answer: timeout"),
        (200, "protocol", {"webhook-allowed-origin": "*"}, "no answer: protocol"),
        (200, None, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "0"}, "WebHook-Allowed-Rate is '0'"),
        (200, None, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "1.5"}, "WebHook-Allowed-Rate is '1.5'"),
        (200, None, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "²"}, "WebHook-Allowed-Rate is '²'"),
    ],
)
def test_anything_else_is_a_refusal_that_says_why(
    status: int | None, error: str | None, headers: dict[str, str], said: str
) -> None:
    verdict = judge(ORIGIN, status, error, headers)
    assert isinstance(verdict, Refused)
    assert verdict.reason.startswith(said)


def test_the_question_names_the_origin_and_offers_a_callback_over_https_alone() -> None:
    assert question(ORIGIN, None, None) == {"WebHook-Request-Origin": ORIGIN}
    assert "WebHook-Request-Callback" not in question(ORIGIN, None, "http://hub.example/x")
    asked = question(ORIGIN, RateLimit(100, 1), "https://hub.example/x")
    assert (asked["WebHook-Request-Callback"], asked["WebHook-Request-Rate"]) == ("https://hub.example/x", "6000")
    assert question(ORIGIN, RateLimit(1, 86_400), None)["WebHook-Request-Rate"] == "1"
    assert origin_of("https://hub.example:8443") == ORIGIN
    assert set(introduction(ORIGIN).values()) == {ORIGIN}


@pytest.mark.parametrize(
    ("rate", "limit"),
    [(1, (1, 60)), (120, (120, 60)), (10_000, (10_000, 60)), (60_000, (1000, 1)), (10**9, (10_000, 1))],
)
def test_an_allowed_rate_is_kept_in_every_minute(rate: int, limit: tuple[int, int]) -> None:
    made = window(rate)
    assert (made.limit, made.period) == limit
    assert made.limit * 60 // made.period <= rate


def test_the_origin_is_the_hubs_to_name_where_there_is_a_handshake() -> None:
    given = EndpointInput(url="https://partner.example/", headers={"oRigin": "me"}, handshake=True)
    with pytest.raises(Invalid, match=r"headers\.origin"):
        create(given, id="ep", app="a", sealed="", since={}, now_ms=0, rules=UrlRules(False, ()))
