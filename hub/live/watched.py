"""A watched topic: who is in it, as this process has heard, and the connections that want to hear of changes."""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from hub.core import frames
from hub.live import notices
from hub.live.connection import Connection
from hub.store.presence import Diff, Members

MOST_NAMES: Final = 1000
"""Users that one message names; its count is that of all."""
_EXACT_STARTS: Final = 64
"""Places in a batch of changes from which watchers are told exactly what is new to them."""
_ANY: Final = -1


class Watched:
    """One topic of one app. Changes are collected, and told in batches."""

    __slots__ = ("_backlog", "_changes", "_names", "_starts", "app", "holds", "moved", "topic", "users", "version",
                 "watchers")  # fmt: skip

    def __init__(self, app: str, topic: str) -> None:
        self.app = app
        self.topic = topic
        self.users: dict[str, None] = {}
        self.version: int | None = None
        """What `users` stands at; None until it has been read from the store."""
        self.watchers: dict[Connection, int] = {}
        """Each with its start: how many of the collected changes its snapshot had already."""
        self.holds = 0
        """Joins under way that need it."""
        self.moved = asyncio.Event()
        self._backlog: list[Diff] = []
        self._changes: list[tuple[str, bool]] = []
        self._starts: set[int] = set()
        self._names: list[str] | None = None

    @property
    def is_idle(self) -> bool:
        return not self.watchers and not self.holds

    # -- what the store says -----------------------------------------------------------------------------------------

    def load(self, members: Members) -> bool:
        """Take what was read; then what was heard meanwhile. False: something is missing in between, read again."""
        now = dict.fromkeys(members.users)
        self._note([user for user in self.users if user not in now], [user for user in now if user not in self.users])
        self.version = members.version
        backlog, self._backlog = self._backlog, []
        return all(self.hear(diff) for diff in backlog)

    def unload(self) -> None:
        """What is known can't be relied on: collect what is heard until `load`."""
        self.version = None

    def hear(self, diff: Diff) -> bool:
        """Take a change. False: one before it was missed."""
        if self.version is None:
            self._backlog.append(diff)
        elif diff.version > self.version:
            if diff.before == 0:  # nobody was there, so this is all
                self._note([user for user in self.users if user not in diff.joined], [])
            elif diff.before != self.version:
                return False
            self._note(diff.left, diff.joined)
            self.version = diff.version
        self.moved.set()
        return True

    def _note(self, left: Iterable[str], joined: Iterable[str]) -> None:
        for user in left:
            if user in self.users:
                del self.users[user]
                self._changed(user, False)
        for user in joined:
            if user not in self.users:
                self.users[user] = None
                self._changed(user, True)

    def _changed(self, user: str, is_here: bool) -> None:
        self._names = None
        if self.watchers:
            self._changes.append((user, is_here))

    @property
    def has_changes(self) -> bool:
        return bool(self._changes)

    # -- what watchers are told --------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[list[str], int]:
        """Who is here (at most MOST_NAMES of them), and how many."""
        if self._names is None:
            self._names = list(islice(self.users, MOST_NAMES))
        return self._names, len(self.users)

    def watch(self, connection: Connection) -> None:
        """Tell this connection what changes from now on. It takes its snapshot in the same moment."""
        start = len(self._changes)
        # Beyond some starts in one batch, in a storm of joins, later ones are told all of it: names that they know.
        if len(self._starts) >= _EXACT_STARTS and start not in self._starts:
            start = _ANY
        self._starts.add(start)
        self.watchers[connection] = start

    def take(self) -> tuple[list[tuple[Connection, int]], "Batch"]:
        """The collected changes and who is to be told; collecting begins anew."""
        told, batch = list(self.watchers.items()), Batch(self.topic, self._changes, len(self.users))
        self._changes, self._starts = [], set()
        self.watchers = dict.fromkeys(self.watchers, 0)
        return told, batch


class Batch:
    """Changes of one topic, as the messages that tell them; one encoding for all who have the same start."""

    def __init__(self, topic: str, changes: list[tuple[str, bool]], count: int) -> None:
        self._topic = topic
        self._changes = changes
        self._count = count
        self._frames: dict[tuple[int, bool], bytes] = {}

    def frame(self, start: int, framed: bool) -> bytes:
        """The bytes for a connection; none when what changed has changed back."""
        found = self._frames.get((start, framed))
        if found is None:
            texts = self._messages(start)
            found = b"".join(frames.ws_frame(text) if framed else text + b"\n" for text in texts)
            self._frames[start, framed] = found
        return found

    def _messages(self, start: int) -> list[bytes]:
        after = dict(self._changes[max(start, 0) :])
        if start == _ANY:
            changed = after
        else:
            first: dict[str, bool] = {}
            for user, is_here in self._changes[start:]:
                first.setdefault(user, is_here)
            # What was true before is the opposite of the first change.
            changed = {user: is_here for user, is_here in after.items() if first[user] is is_here}
        messages: list[bytes] = []
        for kind, wanted in (("user_left", False), ("user_joined", True)):
            users = list(islice((user for user, is_here in changed.items() if is_here is wanted), MOST_NAMES))
            if users:
                messages.append(notices.message(kind, room=self._topic, users=users, count=self._count))
        return messages


def decode(data: bytes) -> Diff:
    return msgspec.json.decode(data, type=Diff)
