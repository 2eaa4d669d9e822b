"""Claims: what a key or a token lets its holder do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import topics
from hub.core.claims import SCOPES, Principal, from_jwt
from hub.core.errors import Forbidden, HubError, Unauthenticated


def token(**claims: Any) -> dict[str, Any]:
    return {"exp": 2_000_000_000, **claims}


def refusal(claims: dict[str, Any]) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        from_jwt(claims)
    caught.value.message.encode()
    return caught.value


def may(principal: Principal, verb: str, topic: str) -> bool:
    try:
        (principal.require_subscribe if verb == "subscribe" else principal.require_publish)(topic)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_a_key_may_do_what_its_scopes_say_and_nothing_else(scope: str) -> None:
    key = Principal("default", frozenset({scope}), key_id="key_1")
    key.require(scope)
    for other in SCOPES - {scope}:
        with pytest.raises(Forbidden, match=other):
            key.require(other)
    assert may(key, "subscribe", "@user.bob") == (scope == "events:subscribe")
    assert may(key, "subscribe", "**") == (scope == "events:subscribe")
    assert may(key, "publish", "orders.42") == (scope == "events:publish")


def test_a_token_may_do_what_its_patterns_cover() -> None:
    principal = from_jwt(token(hub={"subscribe": ["orders.**", "news"], "publish": ["chat.*"]}))
    for wanted in ("orders.42", "orders.**", "orders.*.lines", "news"):
        assert may(principal, "subscribe", wanted), wanted
    for wanted in ("orders", "**", "*", "news.a", "chat.a", "@user.bob", "hub.operational"):
        assert not may(principal, "subscribe", wanted), wanted
    assert may(principal, "publish", "chat.a")
    assert not may(principal, "publish", "chat.a.b")
    assert not may(principal, "publish", "orders.42")


def test_a_token_for_everything_still_excludes_users_and_the_hub() -> None:
    principal = from_jwt(token(hub={"subscribe": ["**"], "publish": ["**"]}))
    for verb in ("subscribe", "publish"):
        assert may(principal, verb, "orders.42")
        assert not may(principal, verb, "@user.bob")
        assert not may(principal, verb, "hub.operational")


def test_a_token_without_patterns_may_do_nothing() -> None:
    for claims in (token(), token(hub={}), token(hub={"subscribe": [], "publish": []})):
        principal = from_jwt(claims)
        assert (principal.subscribe, principal.publish) == ((), ())
        assert not may(principal, "subscribe", "a")
        assert not may(principal, "publish", "a")


def test_a_token_gives_the_scopes_that_it_claims_but_never_administers() -> None:
    principal = from_jwt(token(sub="bob", scope="admin apps openid events:read endpoints:write"))
    assert principal.scopes == {"events:read", "endpoints:write"}
    assert from_jwt(token(scope=["events:read", "profile"])).scopes == {"events:read"}
    assert from_jwt(token(sub="bob")).scopes == frozenset()
    for wrong in (7, None, {"events:read": 1}, [7]):
        assert "scope" in refusal(token(scope=wrong)).message


def test_a_scope_stands_for_every_topic_unless_patterns_are_named() -> None:
    everything = from_jwt(token(sub="ann", scope="events:subscribe events:publish"))
    named = from_jwt(token(scope="events:subscribe events:publish", hub={"subscribe": ["a"], "publish": ["a"]}))
    for verb in ("subscribe", "publish"):
        assert may(everything, verb, "b")
        assert may(named, verb, "a")
        assert not may(named, verb, "b")


def test_a_user_may_receive_their_own_topic_and_nobody_elses() -> None:
    principal = from_jwt(token(sub="bob@example.com"))
    assert principal.user == "bob@example.com"
    assert may(principal, "subscribe", "@user.bob%40example%2Ecom")
    assert not may(principal, "subscribe", "@user.alice")
    assert not may(principal, "subscribe", "@user.*")
    assert not may(principal, "publish", "@user.bob%40example%2Ecom")


def test_a_refusal_names_what_was_wanted_and_what_would_help() -> None:
    with pytest.raises(Forbidden, match=r"'orders\.42'.*hub claim"):
        from_jwt(token()).require_subscribe("orders.42")


def test_a_principal_knows_when_it_ends() -> None:
    assert from_jwt(token(exp=12.5)).expires_at == 12.5
    assert Principal("default").expires_at is None


@pytest.mark.parametrize("app", ["other", "", None, 0, ["default"]])
def test_a_token_can_not_name_another_app(app: object) -> None:
    assert "app" in refusal(token(app=app)).message
    assert from_jwt(token(app="default")).app == from_jwt(token()).app == "default"


def test_a_token_is_of_the_app_whose_key_signed_it() -> None:
    assert from_jwt(token(app="acme"), app="acme", signer="sig_1").app == "acme"
    for claimed in ({}, {"app": "default"}, {"app": "other"}, {"app": None}):
        with pytest.raises(Unauthenticated, match="app claim"):
            from_jwt(token(**claimed), app="acme")


@pytest.mark.parametrize("sub", ["", 5, True, ["bob"], {}, "a" * 250, "é" * 42, "\ud800", "bob\udc00"])
def test_a_user_that_has_no_topic_is_refused(sub: object) -> None:
    assert "sub" in refusal(token(sub=sub)).message


@pytest.mark.parametrize("hub", [None, [], "orders.**", 5, True])
def test_a_hub_claim_that_is_no_object_is_refused(hub: object) -> None:
    assert "hub claim must be an object" in refusal(token(hub=hub)).message


@pytest.mark.parametrize("name", ["subscribe", "publish"])
@pytest.mark.parametrize(
    "patterns",
    [
        None,
        "orders.**",
        {"orders.**": 1},
        [5],
        [True],
        [None],
        [["a"]],
        ["a b"],
        ["a.**.b"],
        [""],
        ["\ud800"],
        ["a"] * 101,
    ],
)
def test_patterns_that_are_none_are_refused(name: str, patterns: object) -> None:
    assert f"hub.{name}" in refusal(token(hub={name: patterns})).message


def test_a_token_may_hold_100_patterns() -> None:
    patterns = [f"a.{n}" for n in range(100)]
    assert from_jwt(token(hub={"subscribe": patterns})).subscribe == tuple(patterns)


@pytest.mark.parametrize("exp", [None, "soon", [], {}, float("nan"), float("inf"), 10**400])
def test_an_end_that_is_no_time_is_refused(exp: object) -> None:
    assert "exp" in refusal(token(exp=exp)).message


def test_a_token_without_an_end_is_refused() -> None:
    assert "exp" in refusal({"sub": "bob"}).message


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "sub": anything,
            "exp": anything | st.integers(0, 2**40),
            "app": anything | st.just("default"),
            "hub": anything
            | st.fixed_dictionaries(
                {}, optional={"subscribe": st.lists(st.text(max_size=4)) | anything, "publish": anything}
            ),
        },
    )
)
def test_arbitrary_claims_are_refused_in_order_or_give_topics_only(claims: dict[str, Any]) -> None:
    try:
        principal = from_jwt(claims)
    except Unauthenticated as exc:
        exc.message.encode()
        return
    assert principal.app == "default"
    assert principal.scopes == frozenset()
    assert principal.subscribe is not None
    assert principal.publish is not None
    for pattern in (*principal.subscribe, *principal.publish):
        topics.check_pattern(pattern)


def test_refusals_have_the_statuses_that_http_knows() -> None:
    with pytest.raises(HubError) as forbidden:
        Principal("default").require("admin")
    assert (forbidden.value.status, refusal({}).status) == (403, 401)


def test_a_token_is_known_by_its_jti_and_else_by_its_text() -> None:
    assert from_jwt(token(jti="t-1"), "digest").token_id == "t-1"
    assert from_jwt(token(), "digest").token_id == "digest"
    assert from_jwt(token(jti=""), "digest").token_id == "digest"


def test_the_time_of_issue_is_exact_to_the_millisecond_and_0_where_none_is_given() -> None:
    assert from_jwt(token(iat=1_700_000_000)).issued_at == 1_700_000_000_000
    assert from_jwt(token(iat=1_700_000_000.001)).issued_at == 1_700_000_000_001
    assert from_jwt(token()).issued_at == 0
    for wrong in ("soon", None, float("nan"), [1]):
        assert "iat" in refusal(token(iat=wrong)).message


def test_who_is_in_a_topic_is_a_right_of_its_own() -> None:
    principal = from_jwt(token(sub="ann", hub={"subscribe": ["**"], "presence": ["chat.*"]}))
    principal.require_presence("chat.1")
    for topic in ("chat.1.a", "orders.1", "@user.ann"):
        with pytest.raises(Forbidden):
            principal.require_presence(topic)
    Principal("default", frozenset({"events:subscribe"})).require_presence("orders.1")
    with pytest.raises(Forbidden):
        Principal("default", frozenset({"events:read"})).require_presence("orders.1")
