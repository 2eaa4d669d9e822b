"""The parameters that every list has, `after`, `before`, `limit` and where it is one by time `order`, and its cursors.

A cursor names its list and an item of it, `keys:key_0190…`, with a `=` before the id where the item itself
belongs to the page. To clients it is opaque.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import HTTPConnection

from hub.core.errors import Invalid, InvalidCursor
from hub.store.paging import Edge, Slice, Window
from hub.web import query
from hub.web.http import Page
from hub.web.query import Param

_ID: Final = re.compile(r"[!-~]{1,300}")


class Paging:
    """One list's parameters. `pattern` is what its ids look like; `newest_first` the order unless asked otherwise, None
    where the list has but one."""

    def __init__(self, kind: str, pattern: re.Pattern[str] = _ID, *, newest_first: bool | None = None) -> None:
        self._kind, self._pattern = kind, pattern
        self.after = query.text("after", "The `next_cursor` of a page: what follows on it.", self.check)
        self.before = query.text("before", "The `prev_cursor` of a page: what lies before it.", self.check)
        self._newest_first = newest_first
        default = "desc" if newest_first else "asc"
        self._order = query.choice("order", "Oldest or newest first.", "asc", "desc", default=default)

    @property
    def params(self) -> tuple[Param[Any], ...]:
        order = () if self._newest_first is None else (self._order,)
        return (self.after, self.before, query.LIMIT, *order)

    def window(self, request: HTTPConnection, after: str | None = None) -> Window:
        """What is asked for. Raises Invalid, InvalidCursor."""
        after, before = self.after.of(request) or after, self.before.of(request)
        if after and before:
            raise Invalid.field("before", "goes without after; a page lies on one side of a cursor")
        descending = self._newest_first is not None and self._order.of(request) == "desc"
        return Window(query.LIMIT.of(request), self._edge(after), self._edge(before), descending)

    def page(self, found: Slice[Any], window: Window, items: Sequence[Any] | None = None) -> Page:
        """The answer's page; `items` are what is shown instead of what was found."""
        shown = found.items if items is None else items
        edges = (self._text(found.next), self._text(found.previous))
        return Page(items=shown, limit=window.limit, next_cursor=edges[0], prev_cursor=edges[1])

    def _text(self, edge: Edge | None) -> str | None:
        return None if edge is None else f"{self._kind}:{'=' if edge.inclusive else ''}{edge.id}"

    def _edge(self, text: str | None) -> Edge | None:
        if not text:
            return None
        id = text[len(self._kind) + 1 :]
        return Edge(id[1:], True) if id.startswith("=") else Edge(id)

    def check(self, text: str, name: str) -> str:
        """A cursor of this list. Raises InvalidCursor."""
        kind, _, id = text.partition(":")
        if text and (kind != self._kind or not self._pattern.fullmatch(id.removeprefix("="))):
            message = f"is not a cursor of this list ({self._kind}); pass one back exactly as an answer had it"
            raise InvalidCursor.field(name, message)
        return text
