"""Dispatch's copy of the endpoints: who is owed an event."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from hub.core.errors import Invalid
from hub.core.expression import Expression, ExpressionFailed, Meter
from hub.core.matching import Matcher, Subscription
from hub.store import keys
from hub.store.connect import Link
from hub.store.log import Entry

_CHANGES: Final = 1000
_FILTERS: Final = 10_000
"""Different filters that are kept ready."""
MAX_STEPS: Final = 50_000
"""Steps that all filters of an app may take on one event, some 20 to 50 ms: what doesn't fit fails. Dispatch goes
through the log in order, so this is the time that one event of a tenant may hold up the others."""


class Audience:
    """Knows the endpoints up to a version, the id of the last change that it has seen.

    `unfit` is called with an event, an endpoint and the reason where its filter can't be applied; that is no match.
    """

    def __init__(self, link: Link, unfit: Callable[[Entry, str, str], None] | None = None) -> None:
        self._link = link
        self._unfit = unfit
        self._filters: dict[str, Expression] = {}
        self._matcher = Matcher()
        self._version: bytes | None = None
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Learn every change that was made before this call. Whoever reads events first and calls this then knows every
        endpoint that existed when they were answered."""
        async with self._lock:
            await self._catch_up()

    async def _catch_up(self) -> None:
        while self._version is not None:
            changes = await self._link.call("XRANGE", keys.ENDPOINT_CHANGES, self._version, "+", "COUNT", _CHANGES)
            if not changes or changes[0][0] != self._version:
                break  # trimmed away, or lost by the store: what was missed can't be told
            if len(changes) == 1:
                return
            await self._apply(list({fields[1] for _, fields in changes[1:]}))
            self._version = changes[-1][0]
            if len(changes) < _CHANGES:
                return
        await self._load()

    def match(self, entry: Entry) -> list[str]:
        """The ids of the endpoints that the event is owed to."""
        found = self._matcher.match(entry.app, entry.topic, entry.type)
        young = [one for one in found if one.covers(entry.partition, entry.position)]
        if all(one.filter is None for one in young):
            return [one.id for one in young]
        event, meter = msgspec.json.decode(entry.body), Meter(MAX_STEPS)
        verdicts: dict[str, bool | str] = {}  # by the filter's text: many endpoints may have the same
        passed: list[str] = []
        for one in sorted(young, key=lambda one: one.id):  # so that the same ones fit, whichever worker dispatches
            verdict: bool | str = True
            if one.filter is not None:
                if one.filter not in verdicts:
                    verdicts[one.filter] = self._verdict(event, one.filter, meter)
                verdict = verdicts[one.filter]
            if verdict is True:
                passed.append(one.id)
            elif isinstance(verdict, str) and self._unfit is not None:
                self._unfit(entry, one.id, verdict)
        return passed

    def _verdict(self, event: Any, text: str, meter: Meter) -> bool | str:
        """Whether the event passes, or why the filter can't be applied to it."""
        try:
            expression = self._filters.get(text)
            if expression is None:
                if len(self._filters) >= _FILTERS:
                    self._filters.clear()
                expression = self._filters[text] = Expression(text, "filter")
            return expression.matches(event, meter)
        except (ExpressionFailed, Invalid) as exc:  # Invalid: it was written under rules that took it
            return str(exc)

    async def _apply(self, ids: list[bytes]) -> None:
        for endpoint_id, raw in zip(ids, await self._link.call("HMGET", keys.ENDPOINTS, *ids), strict=True):
            if raw is None:
                self._matcher.remove(endpoint_id.decode())
            else:
                self._matcher.put(msgspec.json.decode(raw, type=Subscription))

    async def _load(self) -> None:
        last, flat = await self._link.pipeline(
            [("XREVRANGE", keys.ENDPOINT_CHANGES, "+", "-", "COUNT", 1), ("HGETALL", keys.ENDPOINTS)]
        )
        matcher = Matcher()
        for raw in flat[1::2]:
            matcher.put(msgspec.json.decode(raw, type=Subscription))
        self._matcher = matcher
        self._version = last[0][0] if last else None
