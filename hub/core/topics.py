"""Topics, the patterns that select them, and event types: their grammar and matching.

A topic is dot-separated tokens of `[A-Za-z0-9_-]`; the first may begin with `@`, and the tokens behind such a one may
hold percent-escapes (`@user.<sub>`). In a pattern `*` is exactly one token and `**`, only as the last, one or more. A
wildcard in first place never matches a token that begins with `@` or is `hub`: those are named or not received.
"""

import re
from functools import lru_cache
from typing import Final

from hub.core.errors import Invalid

MAX_BYTES: Final = 255
RESERVED: Final = "hub"

_TOPIC = re.compile(r"(?:@[A-Za-z0-9_-]+(?:\.(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+)*|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)")
_TYPE = re.compile(r"[A-Za-z0-9_:/+-]+(?:\.[A-Za-z0-9_:/+-]+)*")
_UNESCAPED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_WILD = {"*": r"[^.]+", "**": r".+"}
_TOPIC_RULE = "tokens of A-Z a-z 0-9 _ - separated by dots (the first may begin with @), at most 255 bytes"
_USER = "@user."
_USER_RULE = f"1 to {MAX_BYTES - len(_USER)} bytes of UTF-8 (what isn't A-Z a-z 0-9 _ - counts as three)"
_TYPE_RULE = "tokens of A-Z a-z 0-9 _ - : / + separated by dots, at most 255 bytes"


def is_topic(value: str) -> bool:
    return len(value) <= MAX_BYTES and _TOPIC.fullmatch(value) is not None


def is_type(value: str) -> bool:
    return len(value) <= MAX_BYTES and _TYPE.fullmatch(value) is not None


def check_topic(value: str, field: str = "topic") -> str:
    """Return the topic, or raise Invalid."""
    if not is_topic(value):
        raise Invalid.field(field, f"{_shown(value)} is not a topic; allowed: {_TOPIC_RULE}")
    return value


def check_type(value: str, field: str = "type") -> str:
    """Return the event type, or raise Invalid."""
    if not is_type(value):
        raise Invalid.field(field, f"{_shown(value)} is not an event type; allowed: {_TYPE_RULE}")
    return value


def check_pattern(value: str, field: str = "topic") -> str:
    """Return the topic pattern, or raise Invalid."""
    return _check_pattern(value, field, _TOPIC, "a topic or pattern", _TOPIC_RULE)


def check_type_pattern(value: str, field: str = "types") -> str:
    """Return the type pattern, or raise Invalid."""
    return _check_pattern(value, field, _TYPE, "a type or pattern", _TYPE_RULE)


def _check_pattern(value: str, field: str, grammar: re.Pattern[str], what: str, rule: str) -> str:
    parts = value.split(".")
    literal = ".".join("x" if part == "*" or (part == "**" and n == len(parts)) else part
                       for n, part in enumerate(parts, 1))  # fmt: skip
    if len(value) > MAX_BYTES or not grammar.fullmatch(literal):
        raise Invalid.field(
            field, f"{_shown(value)} is not {what}; allowed: {rule}; * is one token, a last ** the rest"
        )
    return value


def check_publishable(topic: str, kind: str, prefix: str = "") -> None:
    """Raise Invalid unless a client may publish to the topic with the type: what begins with `hub` is the hub's own."""
    if not _is_publishable(topic, kind):
        _refuse_publishing(topic, kind, prefix)


@lru_cache(maxsize=16_384)  # publishers name the same ones again and again
def _is_publishable(topic: str, kind: str) -> bool:
    try:
        _refuse_publishing(topic, kind, "")
    except Invalid:
        return False
    return True


def _refuse_publishing(topic: str, kind: str, prefix: str) -> None:
    check_topic(topic, f"{prefix}topic")
    check_type(kind, f"{prefix}type")
    if topic.startswith(RESERVED) and topic.split(".", 1)[0] == RESERVED:
        raise Invalid.field(f"{prefix}topic", f"{topic!r} is reserved: topics that begin with hub are the hub's own")
    if kind.startswith(RESERVED) and kind.split(".", 1)[0] == RESERVED:
        raise Invalid.field(f"{prefix}type", f"{kind!r} is reserved: types that begin with hub. are the hub's own")


def is_pattern(value: str) -> bool:
    return "*" in value


def user_topic(user: str, field: str = "user") -> str:
    """The topic of a user's own events: `@user.` and the percent-encoded `sub` (RFC 3986, section 2.1); or Invalid."""
    try:
        token = "".join(chr(b) if b in _UNESCAPED else f"%{b:02X}" for b in user.encode())
    except UnicodeEncodeError:  # an unpaired surrogate, which JSON can smuggle into a str
        token = ""
    if not 0 < len(token) <= MAX_BYTES - len(_USER):
        raise Invalid.field(field, f"{_shown(user)} is not a user; allowed: {_USER_RULE}")
    return _USER + token


@lru_cache(maxsize=16_384)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression that a topic (or type) must match in full."""
    parts = [_WILD.get(part) or re.escape(part) for part in pattern.split(".")]
    guard = r"(?!@|hub(?:\.|\Z))" if pattern.startswith("*") else ""
    return re.compile(guard + r"\.".join(parts), re.DOTALL)


def matches(pattern: str, topic: str) -> bool:
    return pattern == topic or ("*" in pattern and compile_pattern(pattern).fullmatch(topic) is not None)


def matches_any(patterns: tuple[str, ...], value: str) -> bool:
    """Whether one of the patterns matches; no patterns at all match nothing."""
    return any(matches(pattern, value) for pattern in patterns)


def covers(granted: str, wanted: str) -> bool:
    """Whether every topic that the pattern `wanted` can match is matched by `granted`."""
    have, want = granted.split("."), wanted.split(".")
    if have[0] in ("*", "**") and (want[0].startswith("@") or want[0] == RESERVED):
        return False
    for n, token in enumerate(have):
        if token == "**":  # noqa: S105
            return len(want) > n
        if n >= len(want) or want[n] == "**":
            return False
        if token not in ("*", want[n]):
            return False
    return len(want) == len(have)


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")
