"""Whatever a client may call things, the scripts take the names as names: what goes in comes out, and nothing else."""

import contextlib
import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.core.event import Event
from hub.core.limits import Rule
from hub.core.topics import is_topic, is_type, user_topic
from hub.store import keys
from hub.store.connect import Link
from hub.store.limits import Limits
from hub.store.presence import PresenceStore
from hub.store.requests import Claim, Requests, Run, Stored
from hub.store.scripts import script
from hub.store.wire import StoreError
from tests.support.logs import APP, log_on

SYNTAX = (
    "=",
    "-",
    "+",
    "*",
    "0",
    "0-0",
    "nil",
    "nan",
    "{p0}",
    "%s",
    "%",
    "(1",
    "[a",
    "$",
    ">",
    "MAXLEN",
    "v",
    "n",
    "\\0",
)
"""What the store, Lua or the hub's own records have a meaning for."""
TOKENS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=8)
topics = st.lists(TOKENS, min_size=1, max_size=3).map(".".join) | st.text(min_size=1, max_size=8).map(
    lambda user: user_topic(user, "user")
)
types = st.lists(st.text(string.ascii_letters + string.digits + "_:/+-", min_size=1, max_size=8), min_size=1).map(
    ".".join
)
ids = st.sampled_from(SYNTAX) | st.text([chr(n) for n in range(33, 127)], min_size=1, max_size=20)
texts = st.sampled_from((*SYNTAX, "\0", "\r\n", "a\0b", "'", '"')) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=20
)
plainly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@plainly
@given(st.lists(st.tuples(topics, types, ids, texts), min_size=1, max_size=6, unique_by=lambda one: (one[0], one[2])))
async def test_an_event_of_any_name_is_appended_found_and_recognised(
    link: Link, given: list[tuple[str, str, str, str]]
) -> None:
    await link.call("FLUSHALL")
    log = log_on(link)
    events = [Event(id, topic, kind, "2026-01-31T08:00:00Z", text.encode()) for topic, kind, id, text in given]
    assert all(is_topic(event.topic) and is_type(event.type) for event in events)
    done = await log.append(APP, events, "req_1")
    assert [(one.id, one.topic, one.type, one.duplicate) for one in done] == [
        (event.id, event.topic, event.type, False) for event in events
    ]
    found = await log.range(0, (0, 0))
    assert [(entry.topic, entry.type, entry.id, entry.body, entry.app, entry.origin) for entry in found] == [
        (event.topic, event.type, event.id, event.body, APP, "req_1") for event in events
    ]
    again = await log.append(APP, [Event(one.id, one.topic, "other", "later", b"x") for one in events])
    assert [(one.cursor, one.type, one.timestamp) for one in again] == [
        (one.cursor, one.type, one.timestamp) for one in done
    ]
    assert await link.call("XLEN", keys.log(0)) == len(events)
    for event in events:
        of_topic = await log.range_topic(APP, event.topic, (0, 0))
        assert [entry.id for entry in of_topic] == [one.id for one in events if one.topic == event.topic]


@plainly
@given(st.lists(st.tuples(topics, texts), min_size=1, max_size=8, unique=True))
async def test_a_user_of_any_name_is_there_and_leaves(link: Link, members: list[tuple[str, str]]) -> None:
    await link.call("FLUSHALL")
    presence = PresenceStore(link)
    await presence.renew("one", new=True)
    await presence.change("one", [("+", (APP, *member)) for member in members])
    for topic in {topic for topic, _ in members}:
        here = {user for name, user in members if name == topic}
        known = await presence.members(APP, topic)
        assert (set(known.users), known.count) == (here, len(here))
    await presence.change("one", [("-", (APP, *member)) for member in members])
    for topic, _ in members:
        assert (await presence.members(APP, topic)).users == []
    assert await link.call("KEYS", "*members*") == []


@plainly
@given(st.lists(texts, min_size=1, max_size=5, unique=True))
async def test_a_request_under_any_key_has_an_answer_of_its_own(link: Link, scopes: list[str]) -> None:
    await link.call("FLUSHALL")
    requests = Requests(link, b"k" * 32, 4)
    for turn in range(2):
        for scope in scopes:
            answer = Stored(201, {"x": scope}, scope.encode())
            async with requests.begin(Claim(APP, scope, f"f {scope}")) as begun:
                if isinstance(begun, Run):
                    assert turn == 0
                    begun.answer = answer
                else:
                    assert (turn, begun) == (1, answer)


@plainly
@given(st.lists(texts, min_size=1, max_size=5, unique=True))
async def test_a_limit_counts_each_subject_of_any_name_apart(link: Link, subjects: list[str]) -> None:
    await link.call("FLUSHALL")
    limits = Limits(link)
    for subject in subjects:
        gate = limits.gate(APP, "plan", (Rule("user", 2, 3600, "sliding"),), (subject,))
        assert [(await gate.ask()).refused for _ in range(3)] == [None, None, 0]


@plainly
@given(st.binary(max_size=60))
async def test_bytes_that_are_no_events_append_nothing(link: Link, packed: bytes) -> None:
    await link.call("FLUSHALL")
    names = [keys.log(0), keys.meta(0), keys.seen(0, APP, "x"), keys.topic_index(0, APP, "a")]
    with contextlib.suppress(StoreError):
        await link.run(script("append"), names, [3600, "", packed])
    assert await link.call("XLEN", keys.log(0)) == 0
