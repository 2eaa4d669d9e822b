"""The log in tests of the store: events made plainly, and listings read to their end."""

import itertools

from msgspec import Raw

from hub.core import cursor as cursors
from hub.core.event import Event, EventInput, seal
from hub.store import listing
from hub.store.connect import Link
from hub.store.listing import Page
from hub.store.log import Log

APP = "default"
_numbers = itertools.count()


def event(topic: str = "orders.42", kind: str = "order.created", *, id: str | None = None) -> Event:
    given = EventInput(topic, kind, Raw(b'{"total":1}'))
    return seal(given, id=id or f"evt_{next(_numbers)}", timestamp="2026-01-31T08:00:00Z", max_bytes=10_000)


def log_on(link: Link, *, partitions: int = 1) -> Log:
    return Log(link, partitions=partitions, retention=3600)


async def everything(log: Log, app: str = APP, *, limit: int = 7, newest_first: bool = False, **query: object) -> Page:
    """All pages of a listing as one, each page asked for with the cursor of the one before."""
    found: Page = Page([], None)
    after = before = ()
    while True:
        page = await listing.page(
            log,
            app, after=after, before=before, limit=limit, newest_first=newest_first, **query  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        found.entries.extend(page.entries)
        if page.next_cursor is None:
            return found
        if newest_first:
            before = cursors.decode(page.next_cursor)
        else:
            after = cursors.decode(page.next_cursor)
