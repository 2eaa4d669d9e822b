"""The catalogue: what an app says of its event types."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from hub.core.errors import Invalid
from hub.core.topics import RESERVED, check_type

MAX_DESCRIPTION: Final = 1000
MAX_EXAMPLE: Final = 16 * 1024
MAX_TYPES: Final = 1000
"""Types of one app."""


class EventTypeInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A type as its owner writes it. `schema` is JSON Schema for the data; `example` is data that fits it."""

    description: str = ""
    schema: dict[str, Any] | bool | None = None
    example: Any = UNSET


class EventType(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A type of the catalogue. Times are RFC 3339."""

    type: str
    description: str
    schema: dict[str, Any] | bool | None
    example: Any | UnsetType = UNSET
    created_at: str
    updated_at: str


def check(name: str, given: EventTypeInput) -> None:
    """Raise Invalid, naming the field."""
    check_type(name)
    if name == RESERVED or name.startswith(f"{RESERVED}."):
        raise Invalid.field("type", f"{name!r} is reserved: types that begin with hub. are the hub's own")
    if len(given.description) > MAX_DESCRIPTION:
        raise Invalid.field("description", f"is over {MAX_DESCRIPTION} characters")
    if given.example is not UNSET and (size := len(msgspec.json.encode(given.example))) > MAX_EXAMPLE:
        raise Invalid.field("example", f"has {size} bytes; allowed are {MAX_EXAMPLE}")
    if given.schema is not None:
        from hub.core.schema import Schema  # only here: its library takes long to import

        schema = Schema(given.schema)
        if given.example is not UNSET:
            schema.check(given.example, "example")
