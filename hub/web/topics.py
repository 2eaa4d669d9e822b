"""`GET /v1/topics` and `GET /v1/topics/{topic}/presence`: where somebody is, and who."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core.errors import Invalid, Unauthenticated
from hub.core.topics import MAX_BYTES, check_topic
from hub.live.watched import MOST_NAMES
from hub.web.auth import authenticate, authenticate_live
from hub.web.context import context
from hub.web.http import check_query, ok, page, query_limit

_LIST: Final = frozenset({"prefix", "after", "limit"})


async def list_topics(request: Request) -> Response:
    """An app's topics with members, in the order of their names; `after` is the last topic of the page before."""
    principal = await authenticate(request, "events:subscribe")
    check_query(request, _LIST)
    limit = query_limit(request)
    prefix, after = (_name(request, name) for name in ("prefix", "after"))
    presence = context(request).gateway.presence
    found = await presence.topics(principal.app, prefix, after, limit + 1)
    items = [{"topic": topic, "count": count} for topic, count in found[:limit]]
    return page(request, items, limit=limit, next_cursor=found[limit - 1][0] if len(found) > limit else None)


async def topic_presence(request: Request) -> Response:
    """Who is in a topic; of a crowd some are named, and all are counted."""
    principal = await authenticate_live(request)
    if principal is None:
        raise Unauthenticated("No credential; send Authorization: Bearer KEY or TOKEN")
    topic = check_topic(request.path_params["topic"])
    principal.require_presence(topic)
    most = query_limit(request, default=MOST_NAMES, most=MOST_NAMES)
    members = await context(request).gateway.presence.members(principal.app, topic, most)
    return ok(request, {"topic": topic, "users": members.users, "count": members.count})


def _name(request: Request, parameter: str) -> str:
    """The beginning of a topic's name, or a whole one."""
    text = request.query_params.get(parameter, "")
    if len(text) > MAX_BYTES or not text.isascii():
        raise Invalid.field(parameter, f"must be at most {MAX_BYTES} characters of a topic")
    return text


routes = [
    Route("/v1/topics", list_topics, methods=["GET"]),
    Route("/v1/topics/{topic}/presence", topic_presence, methods=["GET"]),
]
