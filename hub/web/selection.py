"""What a stream or a poll asks for: topics and types, each given as often as needed."""

from typing import Final

from starlette.requests import Request

from hub.core.claims import Principal
from hub.core.errors import Invalid
from hub.core.topics import check_pattern, check_type_pattern
from hub.web import query

MAX_TOPICS: Final = 100
TOPICS: Final = query.texts("topic", "A topic, or a pattern of topics; any of those given.", check_pattern)
TYPES: Final = query.texts("type", "A type, or a pattern of types; any of those given.", check_type_pattern)


def selection(request: Request, principal: Principal) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The topic patterns and type patterns of the query, without duplicates. Raises Invalid, Forbidden."""
    patterns = tuple(sorted(set(TOPICS.of(request))))
    if not 1 <= len(patterns) <= MAX_TOPICS:
        raise Invalid.field(
            "topic", f"was given {len(patterns)} times; allowed are 1 to {MAX_TOPICS} topics or patterns"
        )
    for pattern in patterns:
        principal.require_subscribe(pattern)
    types = tuple(sorted(set(TYPES.of(request))))
    if len(types) > MAX_TOPICS:
        raise Invalid.field("type", f"was given {len(types)} times; allowed are at most {MAX_TOPICS}")
    return patterns, types
