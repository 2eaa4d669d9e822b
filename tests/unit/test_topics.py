"""Topics, patterns and types: their grammar, what a pattern matches, and what a grant covers."""

import re
from itertools import product
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.core import topics
from hub.core.errors import Invalid

WORD = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def is_topic(value: str) -> bool:
    """The grammar of topics.py's docstring, spelt out a second time without its regular expressions."""
    first, *rest = value.split(".")
    own = first.startswith("@")
    tokens = [first.removeprefix("@"), *(re.sub("%[0-9A-F]{2}", "x", token) if own else token for token in rest)]
    return len(value) <= 255 and all(token and set(token) <= WORD for token in tokens)


def slow_matches(pattern: str, topic: str) -> bool:
    """What a pattern means, said token by token."""
    wanted, tokens = pattern.split("."), topic.split(".")
    if wanted[0] in ("*", "**") and (tokens[0].startswith("@") or tokens[0] == "hub"):
        return False
    while wanted and tokens:
        head = wanted.pop(0)
        if head == "**":
            return not wanted
        if head not in ("*", tokens.pop(0)):
            return False
    return not wanted and not tokens


token = st.one_of(
    st.sampled_from(["a", "b", "hub", "hubs", "a-b", "_"]), st.text(alphabet=sorted(WORD), min_size=1, max_size=3)
)
first_token = st.one_of(token, token.map("@{}".format))
topic_strategy = st.tuples(first_token, st.lists(token, max_size=4)).map(lambda parts: ".".join([parts[0], *parts[1]]))
pattern_strategy = st.one_of(
    st.just("**"),
    st.tuples(
        st.one_of(st.just("*"), first_token),
        st.lists(st.one_of(st.just("*"), token), max_size=3),
        st.sampled_from(["", ".**"]),
    ).map(lambda parts: ".".join([parts[0], *parts[1]]) + parts[2]),
)
near_topic = st.text(alphabet="aZ0_-.@%2E*\n é\ud800", max_size=12)


@st.composite
def pattern_and_topic(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern, and a topic that it nearly matches: wildcards filled in, sometimes with one token changed."""
    pattern = draw(pattern_strategy)
    tokens: list[str] = []
    for n, part in enumerate(pattern.split(".")):
        if part == "**":
            tokens += draw(st.lists(token, max_size=3))
        else:
            tokens.append(draw(first_token if n == 0 else token) if part == "*" else part)
    if tokens and draw(st.booleans()):
        tokens[draw(st.integers(0, len(tokens) - 1))] = draw(token)
    return pattern, ".".join(tokens or ["a"])


@pytest.mark.parametrize(
    "value", ["a", "orders.42", "A-b_c.0", "@user.bob", "@user.a%2Eb", "@room", "a" * 255, "hub.operational"]
)
def test_a_topic_is_words_joined_by_dots(value: str) -> None:
    assert topics.check_topic(value) == value


@pytest.mark.parametrize(
    "value",
    ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a.b\n", "é", "a.@b", "@", "@.a", "@@a", "a%2E", "@a%2E", "@user.%2e",
     "@user.%2", "@user.%", "a*", "*", "a.**", "a/b", "a:b", "a" * 256, "\x00", "\ud800", "\N{FULLWIDTH DIGIT ONE}",
     "a\N{KELVIN SIGN}"],
)  # fmt: skip
def test_what_is_not_a_topic_is_refused_with_its_field_named(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        topics.check_topic(value, "[3].topic")
    assert caught.value.details[0].field == "[3].topic"
    assert "is not a topic; allowed: " in caught.value.message


@given(st.one_of(near_topic, topic_strategy, pattern_strategy))
@settings(max_examples=400)
def test_the_grammar_of_topics_is_exact(value: str) -> None:
    accepted = True
    try:
        topics.check_topic(value)
    except Invalid:
        accepted = False
    assert accepted == is_topic(value)


@given(st.one_of(near_topic, topic_strategy, pattern_strategy))
@settings(max_examples=400)
def test_the_grammar_of_patterns_is_exact(value: str) -> None:
    accepted = True
    try:
        topics.check_pattern(value)
    except Invalid:
        accepted = False
    parts = value.split(".")
    if parts[-1] == "**":
        parts[-1] = "x"
    literal = ".".join("x" if part == "*" else part for part in parts)
    assert accepted == (is_topic(literal) and len(value) <= 255)


def test_a_pattern_is_counted_as_it_is_written() -> None:
    assert topics.check_pattern("a" * 252 + ".**")
    with pytest.raises(Invalid):
        topics.check_pattern("a" * 253 + ".**")


@pytest.mark.parametrize("value", ["order.created", "com.example:order/created+v2", "a", "hub.x", "t" * 255])
def test_a_type_may_hold_what_cloudevents_types_hold(value: str) -> None:
    assert topics.check_type(value) == value


@pytest.mark.parametrize(
    "value", ["", "a.", ".a", "a..b", "a b", "a\n", "@a", "*", "order.*", "é", "a\r", "t" * 256, "\ud800"]
)
def test_what_is_not_a_type_is_refused(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        topics.check_type(value, "[0].type")
    assert caught.value.details[0].field == "[0].type"


@pytest.mark.parametrize("value", ["*", "**", "order.*", "order.**", "*.created", "a:b.*.c"])
def test_a_type_pattern_has_the_wildcards_of_a_topic_pattern(value: str) -> None:
    assert topics.check_type_pattern(value) == value


@pytest.mark.parametrize("value", ["", "order*", "***", "**.created", "@a.*", "order..*"])
def test_a_broken_type_pattern_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="types: "):
        topics.check_type_pattern(value)


def test_a_refusal_shows_only_the_beginning_of_a_long_value() -> None:
    with pytest.raises(Invalid) as caught:
        topics.check_topic("é" * 100_000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("topic", ["hub", "hub.operational"])
def test_clients_can_not_publish_to_the_hubs_own_topics(topic: str) -> None:
    with pytest.raises(Invalid) as caught:
        topics.check_publishable(topic, "a", "[7].")
    assert caught.value.details[0].field == "[7].topic"


@pytest.mark.parametrize("kind", ["hub", "hub.gap"])
def test_clients_can_not_publish_the_hubs_own_types(kind: str) -> None:
    with pytest.raises(Invalid) as caught:
        topics.check_publishable("a", kind, "[7].")
    assert caught.value.details[0].field == "[7].type"


def test_only_the_whole_first_token_reserves_a_name() -> None:
    topics.check_publishable("hubble.hub", "hub-1.hub")
    topics.check_publishable("a.hub", "a.hub")
    topics.check_publishable("@user.bob", "direct_message")


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("orders.42", "orders.42", True),
        ("orders.42", "orders.421", False),
        ("orders.*", "orders.42", True),
        ("orders.*", "orders", False),
        ("orders.*", "orders.42.lines", False),
        ("orders.**", "orders.42.lines", True),
        ("orders.**", "orders", False),
        ("*", "orders", True),
        ("*.42", "orders.42", True),
        ("**", "orders.42", True),
        ("*", "@room", False),
        ("**", "@user.bob", False),
        ("**", "hub.operational", False),
        ("*", "hub", False),
        ("*.operational", "hub.operational", False),
        ("**", "hubble.a", True),
        ("*", "hub-1", True),
        ("@user.*", "@user.bob", True),
        ("hub.**", "hub.operational", True),
        ("a.*", "a.hub", True),
        ("a_b", "a-b", False),
        ("c++.*", "c++.built", True),
        ("a+.*", "aa.built", False),
    ],
)
def test_wildcards_stand_for_tokens(pattern: str, topic: str, expected: bool) -> None:
    assert topics.matches(pattern, topic) is expected


@given(pattern_and_topic())
@settings(max_examples=400)
@example(("*", "hub"))
@example(("*.**", "a"))
def test_matching_agrees_with_a_slow_matcher(case: tuple[str, str]) -> None:
    pattern, topic = case
    assert topics.matches(pattern, topic) == slow_matches(pattern, topic)


def test_no_patterns_match_nothing() -> None:
    assert not topics.matches_any((), "a")
    assert topics.matches_any(("b", "a.*"), "a.c")
    assert not topics.matches_any(("b", "a.*"), "c")


def test_a_grant_covers_a_pattern_exactly_when_it_matches_all_of_its_topics() -> None:
    # Every pattern over a small alphabet against every topic, `z` standing for any token that no pattern names, and
    # topics one token longer than patterns: what holds here holds for all.
    firsts, others = ["a", "hub", "@u", "*"], ["a", "b", "*"]
    stems = [(), *((f, *rest) for n in range(3) for f in firsts for rest in product(others, repeat=n))]
    patterns = [".".join((*stem, *last)) for stem in stems for last in ((), ("**",)) if stem or last]
    every = [
        ".".join((f, *rest)) for f in ["a", "hub", "@u", "z"] for n in range(4) for rest in product("abz", repeat=n)
    ]
    matched = {pattern: {topic for topic in every if slow_matches(pattern, topic)} for pattern in patterns}
    for granted, wanted in product(patterns, repeat=2):
        assert topics.covers(granted, wanted) == (matched[wanted] <= matched[granted]), (granted, wanted)


@given(pattern_strategy, pattern_and_topic())
@settings(max_examples=300)
def test_what_is_covered_matches(granted: str, case: tuple[str, str]) -> None:
    wanted, topic = case
    if topics.covers(granted, wanted) and slow_matches(wanted, topic):
        assert slow_matches(granted, topic)


@given(pattern_and_topic())
def test_covering_one_topic_is_matching_it(case: tuple[str, str]) -> None:
    granted, topic = case
    assert topics.covers(granted, topic) == topics.matches(granted, topic)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_users_topic_is_one_token_that_reads_back(user: str) -> None:
    try:
        topic = topics.user_topic(user)
    except Invalid:
        assert len(user.encode()) * 3 > 249
        return
    head, _, last = topic.partition(".")
    assert head == "@user"
    assert topics.check_topic(topic) == topic
    assert "." not in last
    assert unquote(last, errors="strict") == user


@pytest.mark.parametrize("user", ["", "a" * 250, "é" * 42, "\ud800", "bob\udfff"])
def test_a_user_that_has_no_topic_is_refused(user: str) -> None:
    with pytest.raises(Invalid) as caught:
        topics.user_topic(user, "sub")
    assert caught.value.details[0].field == "sub"
    caught.value.message.encode()


def test_the_longest_user_still_has_a_topic() -> None:
    assert len(topics.user_topic("a" * 249)) == 255
    assert topics.user_topic("a.b@c*") == "@user.a%2Eb%40c%2A"


def test_a_pattern_is_what_holds_a_wildcard() -> None:
    assert topics.is_pattern("a.*")
    assert topics.is_pattern("**")
    assert not topics.is_pattern("@user.a%2A")
