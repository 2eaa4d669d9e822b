"""A scrape's page: the metrics of every process of the group, and what the store says now; bounded in time."""

import asyncio
from collections.abc import Mapping
from typing import Final

from hub import exposition, metrics
from hub.group import Group
from hub.store.readings import Readings

_ALWAYS: Final = frozenset({"hub_store_up", "hub_scrape_silent"})
"""What is said although the store gave no answer."""


async def page(group: Group, readings: Readings, headers: Mapping[str, str]) -> tuple[bytes, str]:
    """The page and its content type; within the half second that the others and the store have."""
    (pages, silent), answered = await asyncio.gather(group.pages(), readings.take())
    metrics.SCRAPE_SILENT.set(silent)
    shared = [one for one in exposition.snapshot(metrics.SHARED) if answered or one.name in _ALWAYS]
    return exposition.render([*exposition.merge(pages), *shared], headers)
