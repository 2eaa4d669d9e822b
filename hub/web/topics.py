"""`GET /v1/topics` and `GET /v1/topics/{topic}/presence`: where somebody is, and who."""

from typing import Final

import msgspec

from hub.core.errors import Invalid, InvalidCursor
from hub.core.topics import MAX_BYTES, check_topic
from hub.live.watched import MOST_NAMES
from hub.web import query
from hub.web.auth import LIVE, scope
from hub.web.http import Page
from hub.web.operation import Call, Operation
from hub.web.paging import Paging


def _check_name(text: str, name: str) -> str:
    """The beginning of a topic's name, or a whole one."""
    if len(text) > MAX_BYTES or not text.isascii():
        raise Invalid.field(name, f"must be at most {MAX_BYTES} characters of a topic")
    return text


PREFIX: Final = query.text("prefix", "Only topics whose name begins so.", _check_name)
PAGING: Final = Paging("topics")
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
    window = PAGING.window(call.request)
    found = await call.resources.gateway.presence.topics(call.app, PREFIX.of(call.request) or "", window)
    return PAGING.page(found, window, [TopicCount(*one) for one in found.items])


async def topic_presence(call: Call[None]) -> Members:
    """Who is in a topic; of a crowd some are named, and all are counted."""
    topic = check_topic(call.path("topic"))
    call.principal.require_presence(topic)
    members = await call.resources.gateway.presence.members(call.app, topic, NAMED.of(call.request))
    return Members(topic, members.users, members.count)


operations = (
    Operation(
        "GET", "/v1/topics", list_topics, "List topics with members", scope("events:subscribe"),
        query=(PREFIX, *PAGING.params), answer=TopicCount, is_list=True, errors=(InvalidCursor,),
    ),
    Operation(
        "GET", "/v1/topics/{topic}/presence", topic_presence, "See who is in a topic", LIVE,
        query=(NAMED, query.TOKEN, query.TICKET), answer=Members,
    ),
)  # fmt: skip
