"""Matching of events with endpoints: by app, type and topic, as core.topics has it, however many there are."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.matching import Matcher, Subscription
from hub.core.topics import matches, matches_any

TOKENS = st.sampled_from(["a", "b", "c", "hub", "@user"])
TOPICS = st.lists(TOKENS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "hub", "@user", "*"]), min_size=1, max_size=4).flatmap(
    lambda tokens: st.sampled_from([".".join(tokens), ".".join([*tokens, "**"]), "**"])
)


def sub(id: str, *topics: str, types: tuple[str, ...] | None = None, app: str = "default") -> Subscription:
    return Subscription(id, app, types, topics or None, {})


def ids(matcher: Matcher, topic: str, kind: str = "order.created", app: str = "default") -> list[str]:
    return sorted(one.id for one in matcher.match(app, topic, kind))


def matcher_of(*subscriptions: Subscription) -> Matcher:
    matcher = Matcher()
    for one in subscriptions:
        matcher.put(one)
    return matcher


@given(st.lists(PATTERNS, min_size=1, max_size=5), TOPICS)
def test_the_tree_agrees_with_the_patterns_one_by_one(patterns: list[str], topic: str) -> None:
    matcher = matcher_of(*(sub(str(n), pattern) for n, pattern in enumerate(patterns)))
    assert ids(matcher, topic) == sorted(str(n) for n, pattern in enumerate(patterns) if matches(pattern, topic))


@given(st.lists(PATTERNS, min_size=1, max_size=5), TOPICS)
def test_an_endpoint_with_several_patterns_is_owed_an_event_once(patterns: list[str], topic: str) -> None:
    wanted = ["e"] if matches_any(tuple(patterns), topic) else []
    assert ids(matcher_of(sub("e", *patterns)), topic) == wanted


def test_an_endpoint_without_filters_gets_everything_but_what_must_be_named() -> None:
    matcher = matcher_of(sub("all"), sub("hub", "hub.**"), sub("user", "@user.ann"))
    assert ids(matcher, "orders.42") == ["all"]
    assert ids(matcher, "hub.operational", "hub.endpoint.disabled") == ["hub"]
    assert ids(matcher, "@user.ann") == ["user"]


@pytest.mark.parametrize(
    ("types", "kind", "matched"),
    [
        (None, "order.created", True),
        (("order.*",), "order.created", True),
        (("order.*",), "order.item.added", False),
        (("order.**",), "order.item.added", True),
        (("user.*", "order.created"), "order.created", True),
        (("user.*",), "order.created", False),
    ],
)
def test_types_filter_by_pattern(types: tuple[str, ...] | None, kind: str, matched: bool) -> None:
    assert ids(matcher_of(sub("e", types=types)), "orders.42", kind) == (["e"] if matched else [])


def test_apps_are_apart() -> None:
    matcher = matcher_of(sub("mine"), sub("theirs", app="other"))
    assert ids(matcher, "orders.42") == ["mine"]
    assert ids(matcher, "orders.42", app="other") == ["theirs"]
    assert ids(matcher, "orders.42", app="third") == []


def test_a_change_counts_at_once_and_nothing_is_left_of_a_removed_endpoint() -> None:
    matcher = matcher_of(sub("e", "orders.*"))
    assert ids(matcher, "orders.42") == ["e"]
    matcher.put(sub("e", "users.*"))
    assert ids(matcher, "orders.42") == []
    assert ids(matcher, "users.1") == ["e"]
    matcher.remove("e")
    matcher.remove("e")
    assert ids(matcher, "users.1") == []
    assert len(matcher) == 0


def test_an_endpoint_counts_that_was_added_after_its_type_was_asked_for() -> None:
    matcher = matcher_of(sub("first", "orders.*"))
    assert ids(matcher, "orders.42") == ["first"]
    matcher.put(sub("second", "orders.*"))
    assert ids(matcher, "orders.42") == ["first", "second"]


def test_an_endpoint_is_older_or_younger_than_an_event_per_partition() -> None:
    one = Subscription("e", "default", None, None, {0: (100, 5)})
    assert not one.covers(0, (100, 5))
    assert one.covers(0, (100, 6))
    assert one.covers(1, (1, 0))


def test_thousands_of_endpoints_stay_cheap() -> None:
    matcher = matcher_of(*(sub(f"e{n}", f"tenant.{n}.**") for n in range(5000)))
    matcher.match("default", "tenant.1.x", "t")
    began = time.perf_counter()
    for n in range(1000):
        assert len(matcher.match("default", f"tenant.{n}.orders", "t")) == 1
    assert time.perf_counter() - began < 2  # looking at each would take a thousand times as long
