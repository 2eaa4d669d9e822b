"""Pages of lists, both ways. A page is cut at an item's id, not at a number, so what is added or removed meanwhile
shifts no other page.

Going on from a page begins behind its last item; going back from it begins at the last item of the page before, that
one included. So the pages of a walk there and back are the same.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from hub.store.connect import Link

T = TypeVar("T")
BUDGET: Final = 2000
"""Items that a page with a filter may look at; its cursor goes on from there."""
_CHUNK: Final = 100


class Edge(NamedTuple):
    """Where a page begins: behind an item, or with it."""

    id: str
    inclusive: bool = False


class Window(NamedTuple):
    """Which page: up to `limit` items after an edge or before one, in the order of the ids or against it."""

    limit: int
    after: Edge | None = None
    before: Edge | None = None
    descending: bool = False

    @property
    def backward(self) -> bool:
        return self.before is not None

    @property
    def edge(self) -> Edge | None:
        return self.before or self.after

    @property
    def downward(self) -> bool:
        """Whether it is read from greater ids to smaller ones."""
        return self.descending != self.backward


class Slice(NamedTuple, Generic[T]):
    """A page, with the edges to go on (`after`) and back (`before`) from; None where there is nothing more."""

    items: list[T]
    next: Edge | None
    previous: Edge | None


Row: TypeAlias = tuple[str, T | None]
"""An id, and what it names; None where that is gone."""


def cut(window: Window, found: list[T], further: Edge | None) -> Slice[T]:
    """The page of what was found in the order of reading; `further` is where reading would go on."""
    edge = window.edge
    back = None if edge is None else Edge(edge.id, not edge.inclusive)
    return Slice(found[::-1], back, further) if window.backward else Slice(found, further, back)


async def walk(
    window: Window,
    read: Callable[[Edge | None, int], Awaitable[Sequence[Row[T]]]],
    keep: Callable[[T], bool] | None = None,
) -> Slice[T]:
    """The page of a window. `read` gets up to so many rows from an edge on, `window.downward` or upward."""
    found: list[T] = []
    edge, more, looked = window.edge, True, 0
    while more and len(found) < window.limit and looked < BUDGET:
        count = window.limit - len(found) if keep is None else _CHUNK
        rows = await read(edge, count + 1)
        more = len(rows) > count
        for n, (id, thing) in enumerate(rows[:count], 1):
            edge, looked = Edge(id), looked + 1
            if thing is not None and (keep is None or keep(thing)):
                found.append(thing)
            if len(found) == window.limit:
                more = n < len(rows)
                break
    return cut(window, found, edge if more else None)


async def page(
    link: Link,
    index: str,
    load: Callable[[list[str]], Awaitable[Sequence[T | None]]],
    window: Window,
    keep: Callable[[T], bool] | None = None,
) -> Slice[T]:
    """A page of what a sorted set lists by its ids. What the index names but `load` doesn't find is left out."""

    async def read(edge: Edge | None, count: int) -> list[Row[T]]:
        start = None if edge is None else f"{'[' if edge.inclusive else '('}{edge.id}"
        bounds = ("ZREVRANGEBYLEX", start or "+", "-") if window.downward else ("ZRANGEBYLEX", start or "-", "+")
        found = await link.call(bounds[0], index, *bounds[1:], "LIMIT", 0, count)
        ids = [raw.decode() for raw in found]
        return list(zip(ids, await load(ids), strict=True)) if ids else []

    return await walk(window, read, keep)


async def page_of(
    ids: Sequence[str], load: Callable[[list[str]], Awaitable[Sequence[T | None]]], window: Window
) -> Slice[T]:
    """A page of few things, whose ids are at hand in their order."""
    ordered = ids[::-1] if window.downward else ids

    async def read(edge: Edge | None, count: int) -> list[Row[T]]:
        wanted = [id for id in ordered if edge is None or _past(id, edge, window.downward)][:count]
        return list(zip(wanted, await load(wanted), strict=True)) if wanted else []

    return await walk(window, read)


def _past(id: str, edge: Edge, downward: bool) -> bool:
    if id == edge.id:
        return edge.inclusive
    return id < edge.id if downward else id > edge.id
