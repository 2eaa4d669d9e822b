"""`GET /v1/topics` and `GET /v1/topics/{topic}/presence`: where somebody is, and who."""

from typing import Final

import msgspec

from hub.core.errors import Invalid
from hub.core.topics import MAX_BYTES, check_topic
from hub.live.watched import MOST_NAMES
from hub.web import query
from hub.web.auth import LIVE, scope
from hub.web.http import Page
from hub.web.operation import Call, Operation


def _check_name(text: str, name: str) -> str:
    """The beginning of a topic's name, or a whole one."""
    if len(text) > MAX_BYTES or not text.isascii():
        raise Invalid.field(name, f"must be at most {MAX_BYTES} characters of a topic")
    return text


PREFIX: Final = query.text("prefix", "Only topics whose name begins so.", _check_name)
AFTER: Final = query.text("after", "The `next_cursor` of the page before: its last topic.", _check_name)
NAMED: Final = query.number("limit", "How many users are named.", default=MOST_NAMES, most=MOST_NAMES)


class TopicCount(msgspec.Struct, frozen=True):
    """A topic and how many are in it."""

    topic: str
    count: int


class Members(msgspec.Struct, frozen=True):
    """Who is in a topic: some are named, all are counted."""

    topic: str
    users: list[str]
    count: int


async def list_topics(call: Call[None]) -> Page:
    """An app's topics with members, in the order of their names."""
    request, limit = call.request, query.LIMIT.of(call.request)
    prefix, after = PREFIX.of(request) or "", AFTER.of(request) or ""
    found = await call.resources.gateway.presence.topics(call.app, prefix, after, limit + 1)
    items = [TopicCount(topic, count) for topic, count in found[:limit]]
    return Page(items=items, limit=limit, next_cursor=found[limit - 1][0] if len(found) > limit else None)


async def topic_presence(call: Call[None]) -> Members:
    """Who is in a topic; of a crowd some are named, and all are counted."""
    topic = check_topic(call.path("topic"))
    call.principal.require_presence(topic)
    members = await call.resources.gateway.presence.members(call.app, topic, NAMED.of(call.request))
    return Members(topic, members.users, members.count)


operations = (
    Operation(
        "GET", "/v1/topics", list_topics, "List topics with members", scope("events:subscribe"),
        query=(PREFIX, AFTER, query.LIMIT), answer=TopicCount, is_list=True,
    ),
    Operation(
        "GET", "/v1/topics/{topic}/presence", topic_presence, "See who is in a topic", LIVE,
        query=(NAMED, query.TOKEN, query.TICKET), answer=Members,
    ),
)  # fmt: skip
