"""Which endpoints an event is owed to.

Per app and event type the endpoints are kept in a tree of topic tokens, so a match costs the topic's tokens and the
endpoints that it finds, not the endpoints that there are.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from hub.core.cursor import START, Position
from hub.core.topics import RESERVED, matches_any

_CACHED_TYPES: Final = 1000
"""Trees per app; an app that sends more types than this has them rebuilt."""
_EVERYTHING: Final = ("**",)


class Subscription(msgspec.Struct, frozen=True):
    """What matching needs of an endpoint. No types: every type; no topics: `**`. `since` is per log partition.

    `filter` is JMESPath over the whole event; what the tree finds has yet to pass it.
    """

    id: str
    app: str
    types: tuple[str, ...] | None
    topics: tuple[str, ...] | None
    since: dict[int, Position]
    filter: str | None = None

    def covers(self, partition: int, position: Position) -> bool:
        """Whether an event at this place is younger than the endpoint."""
        return position > self.since.get(partition, START)


class _Node:
    """One token's place in a tree: `here` ends at it, `below` by a last `**`."""

    __slots__ = ("below", "here", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.here: list[Subscription] = []
        self.below: list[Subscription] = []


class Matcher:
    """The endpoints of all apps, ready to be asked."""

    def __init__(self) -> None:
        self._known: dict[str, Subscription] = {}
        self._apps: dict[str, dict[str, Subscription]] = {}
        self._trees: dict[str, dict[str, _Node]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, subscription: Subscription) -> None:
        self.remove(subscription.id)
        self._trees.pop(subscription.app, None)
        self._known[subscription.id] = subscription
        self._apps.setdefault(subscription.app, {})[subscription.id] = subscription

    def remove(self, endpoint_id: str) -> None:
        old = self._known.pop(endpoint_id, None)
        if old is None:
            return
        self._trees.pop(old.app, None)
        del self._apps[old.app][old.id]
        if not self._apps[old.app]:
            del self._apps[old.app]

    def match(self, app: str, topic: str, kind: str) -> list[Subscription]:
        """The app's endpoints whose filters match, each once."""
        if app not in self._apps:
            return []
        tokens = topic.split(".")
        found = {hit.id: hit for hit in _walk(self._tree(app, kind), tokens, 0, _is_reserved(tokens[0]))}
        return list(found.values())

    def _tree(self, app: str, kind: str) -> _Node:
        trees = self._trees.setdefault(app, {})
        tree = trees.get(kind)
        if tree is None:
            if len(trees) >= _CACHED_TYPES:
                trees.clear()
            tree = trees[kind] = _plant(self._apps[app], kind)
        return tree


def _plant(subscriptions: dict[str, Subscription], kind: str) -> _Node:
    root = _Node()
    for subscription in subscriptions.values():
        if subscription.types is not None and not matches_any(subscription.types, kind):
            continue
        for pattern in subscription.topics or _EVERYTHING:
            node = root
            *tokens, last = pattern.split(".")
            for token in tokens:
                node = node.next.setdefault(token, _Node())
            if last == "**":
                node.below.append(subscription)
            else:
                node.next.setdefault(last, _Node()).here.append(subscription)
    return root


def _walk(node: _Node, tokens: list[str], depth: int, guarded: bool) -> Iterator[Subscription]:
    """What matches from here on. A guarded first token is never met by a wildcard (see core.topics)."""
    if depth == len(tokens):
        yield from node.here
        return
    wild = not (guarded and depth == 0)
    if wild:
        yield from node.below
    if (child := node.next.get(tokens[depth])) is not None:
        yield from _walk(child, tokens, depth + 1, guarded)
    if wild and (child := node.next.get("*")) is not None:
        yield from _walk(child, tokens, depth + 1, guarded)


def _is_reserved(token: str) -> bool:
    return token.startswith("@") or token == RESERVED
