"""Query parameters: declared once, for reading and for the documents."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from starlette.requests import HTTPConnection

from hub.core import cursor as cursors
from hub.core.cursor import Cursor
from hub.core.errors import Invalid

T = TypeVar("T")


class Param(Generic[T]):
    """One parameter: its name, JSON Schema, what it is for, and how it is read.

    `parse` gets the text, or None where it is absent, and the parameter's name for its error. Of one that is given
    several times the last counts, unless it is `many`: then `parse_all` gets them all.
    """

    __slots__ = ("_parse", "description", "many", "name", "schema")

    def __init__(
        self,
        name: str,
        description: str,
        schema: dict[str, Any],
        parse: Callable[[list[str], str], T],
        *,
        many: bool = False,
    ) -> None:
        self.name = name
        self.description = description
        self.schema = schema
        self.many = many
        self._parse = parse

    def of(self, request: HTTPConnection) -> T:
        """The value in this request's query, or Invalid."""
        return self._parse(request.query_params.getlist(self.name), self.name)


def check_query(request: HTTPConnection, allowed: frozenset[str]) -> None:
    """Raise Invalid for a parameter that the route doesn't know, so that a misspelt filter never widens a result."""
    for name in request.query_params:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise Invalid.field(name[:80] or "query", f"{name[:80]!r} is not a parameter here; allowed: {known}")


def text(name: str, description: str, check: Callable[[str, str], str] | None = None) -> Param[str | None]:
    """A text, or None."""

    def parse(values: list[str], name: str) -> str | None:
        return None if not values else values[-1] if check is None else check(values[-1], name)

    return Param(name, description, {"type": "string"}, parse)


def texts(name: str, description: str, check: Callable[[str, str], str]) -> Param[tuple[str, ...]]:
    """A text that may be given any number of times."""

    def parse(values: list[str], name: str) -> tuple[str, ...]:
        return tuple(check(value, name) for value in values)

    return Param(name, description, {"type": "array", "items": {"type": "string"}}, parse, many=True)


def choice(name: str, description: str, *allowed: str, default: str | None = None) -> Param[str | None]:
    """One of some words; where absent the default."""

    def parse(values: list[str], name: str) -> str | None:
        if not values:
            return default
        if values[-1] not in allowed:
            raise Invalid.field(name, f"{values[-1][:40]!r} is not a {name}; allowed: {', '.join(allowed)}")
        return values[-1]

    schema: dict[str, Any] = {"type": "string", "enum": list(allowed)}
    return Param(name, description, schema if default is None else {**schema, "default": default}, parse)


def number(name: str, description: str, *, default: int, least: int = 1, most: int) -> Param[int]:
    """A whole number in a range."""

    def parse(values: list[str], name: str) -> int:
        text = values[-1] if values else str(default)
        if values and not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
            raise Invalid.field(name, f"{text[:40]!r} is not a number from {least} to {most}")
        return int(text)

    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if least <= default <= most:  # else absence means something of its own
        schema["default"] = default
    return Param(name, description, schema, parse)


def seconds(name: str, description: str, *, default: float, most: float) -> Param[float]:
    """A number of seconds from 0 on."""

    def parse(values: list[str], name: str) -> float:
        text = values[-1] if values else str(default)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise Invalid.field(name, f"{text[:40]!r} is not a number of seconds from 0 to {most:.0f}")
        return value

    return Param(name, description, {"type": "number", "minimum": 0, "maximum": most, "default": default}, parse)


def flag(name: str, description: str) -> Param[bool]:
    """`1` or `0`, which is the default."""

    def parse(values: list[str], name: str) -> bool:
        text = values[-1] if values else "0"
        if text not in ("0", "1"):
            raise Invalid.field(name, f"{text[:40]!r} is not allowed; send 1 or 0")
        return text == "1"

    return Param(name, description, {"type": "string", "enum": ["0", "1"], "default": "0"}, parse)


def cursor(name: str, description: str) -> Param[Cursor]:
    """A cursor of the log; empty where it is absent."""

    def parse(values: list[str], name: str) -> Cursor:
        return cursors.decode(values[-1], name) if values and values[-1] else ()

    return Param(name, description, {"type": "string"}, parse)


def time(name: str, description: str) -> Param[int | None]:
    """An RFC 3339 time, read as ms since 1970; None where it is absent."""

    def parse(values: list[str], name: str) -> int | None:
        if not values:
            return None
        # An unescaped + of an offset arrives as a space.
        text = values[-1].replace(" ", "+").upper()
        try:
            parsed = datetime.fromisoformat(text)
            moment = parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
            if moment < 0:
                raise ValueError
        except (ValueError, OverflowError):
            message = f"{values[-1][:40]!r} is not an RFC 3339 time such as 2026-01-31T08:00:00Z"
            raise Invalid.field(name, message) from None
        return round(moment * 1000)

    return Param(name, description, {"type": "string", "format": "date-time"}, parse)


LIMIT: Final = number("limit", "How many items a page has at most.", default=50, most=500)
TOKEN: Final = text("token", "A token or an API key, for clients that can't set the Authorization header.")
TICKET: Final = text("ticket", "A ticket (POST /v1/tickets), for URLs that others may see.")
