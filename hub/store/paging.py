"""Pages of things that a sorted set lists by their ids, both ways."""

from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from hub.store.connect import Link

T = TypeVar("T")


class Slice(NamedTuple, Generic[T]):
    """Items by id, with the ids to go on (`after`) and back (`before`) from; None where there is nothing more."""

    items: list[T]
    next: str | None
    previous: str | None


async def page(
    link: Link,
    index: str,
    load: Callable[[list[str]], Awaitable[list[T | None]]],
    *,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> Slice[T]:
    """Up to `limit` of the things right after an id, or right before one; at most one of the two is given.

    What the index names but `load` doesn't find is left out.
    """
    backward = before is not None
    if backward:
        found = await link.call("ZREVRANGEBYLEX", index, f"({before}", "-", "LIMIT", 0, limit + 1)
    else:
        found = await link.call("ZRANGEBYLEX", index, f"({after}" if after else "-", "+", "LIMIT", 0, limit + 1)
    ids = [raw.decode() for raw in found]
    more, ids = len(ids) > limit, ids[:limit]
    if backward:
        ids.reverse()
    items = [item for item in (await load(ids) if ids else []) if item is not None]
    first, last = (ids[0], ids[-1]) if ids else (after, before)
    has_next, has_previous = (bool(ids), more) if backward else (more, after is not None and bool(ids))
    return Slice(items, last if has_next else None, first if has_previous else None)
