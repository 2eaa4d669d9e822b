"""What an endpoint's owner may write, and what is refused by name."""

from typing import Any

import msgspec
import pytest

from hub.core import endpoint as endpoints
from hub.core.endpoint import Config, EndpointInput, EndpointPatch, RateLimit
from hub.core.errors import EndpointUrlForbidden, Invalid
from hub.core.retry import RetryInput
from hub.core.target_url import UrlRules

URL = "https://example.com/hooks"
RULES = UrlRules()


def create(**fields: Any) -> Config:
    given = msgspec.convert({"url": URL, **fields}, EndpointInput)
    return endpoints.create(given, id="ep_1", app="default", sealed="v1:", since={0: (1, 2)}, now_ms=5, rules=RULES)


def refused(**fields: Any) -> str:
    with pytest.raises(Invalid) as caught:
        create(**fields)
    return caught.value.details[0].field


def test_an_endpoint_with_a_url_alone_has_the_defaults() -> None:
    made = create()
    assert (made.types, made.topics, made.max_in_flight, made.timeout, made.retry) == (None, None, 10, None, None)
    assert (made.created_at, made.updated_at, made.since) == (5, 5, {0: (1, 2)})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"types": []}, "types"),
        ({"types": ["order.*", "a b"]}, "types[1]"),
        ({"types": ["x"] * 101}, "types"),
        ({"topics": ["orders.**.x"]}, "topics[0]"),
        ({"topics": []}, "topics"),
        ({"filter": "a ||"}, "filter"),
        ({"transform": "nothing(a)"}, "transform"),
        ({"description": "x" * 1001}, "description"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"max_backlog": 0}, "max_backlog"),
        ({"max_backlog": 1_000_001}, "max_backlog"),
        ({"max_in_flight": 1001}, "max_in_flight"),
        ({"rate_limit": RateLimit(0)}, "rate_limit.limit"),
        ({"rate_limit": RateLimit(10_001)}, "rate_limit.limit"),
        ({"rate_limit": RateLimit(1, period=0)}, "rate_limit.period"),
        ({"rate_limit": RateLimit(1, period=86_401)}, "rate_limit.period"),
        ({"timeout": 0.5}, "timeout"),
        ({"timeout": 121}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"retry": {"schedule": [0]}}, "retry.schedule"),
        ({"retry": {"schedule": [1], "base": 5}}, "retry"),
        ({"headers": {"webhook-id": "x"}}, "headers.webhook-id"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        *(
            ({"headers": {name: "x"}}, f"headers.{name}")
            for name in (
                "Connection",
                "Content-Encoding",
                "Content-Type",
                "Cookie",
                "Date",
                "Expect",
                "Keep-Alive",
                "Proxy-Authorization",
                "Proxy-Connection",
                "TE",
                "Trailer",
                "Upgrade",
                "CE-id",
                "WebHook-Request-Origin",
            )
        ),
        ({"headers": {"Content-Length": "1"}}, "headers.Content-Length"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers.Transfer-Encoding"),
        ({"headers": {"User-Agent": "x"}}, "headers.User-Agent"),
        ({"headers": {"x-a": "b\r\nx-c: d"}}, "headers.x-a"),
        ({"headers": {"x-a": " padded"}}, "headers.x-a"),
        ({"headers": {"x-a": "é"}}, "headers.x-a"),
        ({"headers": {"x a": "b"}}, "headers.x a"),
        ({"headers": {"x-a": "b", "X-A": "c"}}, "headers.X-A"),
        ({"headers": {f"x-{n}": "b" for n in range(51)}}, "headers"),
        ({"headers": {"x-a": "b" * 1001}}, "headers.x-a"),
        ({"metadata": {"": "x"}}, "metadata."),
        ({"metadata": {"a": "b" * 1001}}, "metadata.a"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    assert refused(**fields) == field


@pytest.mark.parametrize("name", ["formats", "colour"])
def test_a_field_that_is_not_known_is_refused_by_name(name: str) -> None:
    for shape in (EndpointInput, EndpointPatch):
        with pytest.raises(msgspec.ValidationError, match=name):
            msgspec.convert({"url": URL, name: 1}, shape)


def test_own_headers_are_taken() -> None:
    assert create(headers={"Authorization": "Bearer x", "X-Team": "a b"}).headers["X-Team"] == "a b"


def test_a_change_touches_only_what_it_names() -> None:
    made = create(types=["order.*"], timeout=3, retry={"schedule": [1, 2]}, description="old")
    given = msgspec.convert({"timeout": None, "types": None, "retry": {"base": 1, "attempts": 3}}, EndpointPatch)
    changed = endpoints.change(made, given, now_ms=9, rules=RULES)
    assert (changed.timeout, changed.types, changed.retry) == (None, None, (1, 3))
    assert (changed.description, changed.url, changed.created_at, changed.updated_at) == ("old", URL, 5, 9)
    reset = endpoints.change(changed, msgspec.convert({"retry": None}, EndpointPatch), now_ms=9, rules=RULES)
    assert reset.retry is None


def test_a_change_is_checked_like_a_new_endpoint() -> None:
    with pytest.raises(EndpointUrlForbidden):
        endpoints.change(create(), EndpointPatch(url="http://example.com/"), now_ms=9, rules=RULES)
    with pytest.raises(Invalid):
        endpoints.change(create(), EndpointPatch(retry=RetryInput(attempts=0)), now_ms=9, rules=RULES)


def test_a_url_that_stays_is_not_judged_by_rules_that_came_after_it() -> None:
    made = endpoints.create(
        EndpointInput("http://example.com/"), id="ep_1", app="default", sealed="v1:", since={}, now_ms=5,
        rules=UrlRules(allow_http=True),
    )  # fmt: skip
    assert endpoints.change(made, EndpointPatch(description="d"), now_ms=9, rules=RULES).url == made.url


@pytest.mark.parametrize(
    "name", ["url", "headers", "enabled", "max_in_flight", "max_backlog", "metadata", "description"]
)
def test_null_is_refused_where_there_is_no_default_to_go_back_to(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({name: None}, EndpointPatch)


def test_ids_sort_by_time() -> None:
    early, late = endpoints.new_id(1_795_000_000_000), endpoints.new_id(1_795_000_000_001)
    assert early < late
    assert endpoints.ID.fullmatch(early)
