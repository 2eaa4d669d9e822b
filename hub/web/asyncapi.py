"""The AsyncAPI 3.0 document (asyncapi.com/docs/reference/specification/v3.0.0): what goes over the live connections.

A client's messages are the types that the hub decodes; its own are described here, and a test compares both with those
of real connections.
"""

from typing import Any, Final, TypeAlias, get_args

import msgspec

from hub import VERSION
from hub.core.errors import HubError
from hub.core.event import EventInput
from hub.web import messages
from hub.web.error_pages import all_errors

Json: TypeAlias = dict[str, Any]
REF: Final = "#/components/schemas/{name}"
_CURSOR: Final = {"type": "string", "description": "Where in the log this is; it resumes every path."}
_REF: Final = {"type": ["integer", "string"], "description": "The `ref` of the message that this answers."}
_ROOM: Final = {"type": "string", "description": "The topic or pattern, as it was joined."}
_USERS: Final = {"type": "array", "items": {"type": "string"}}
_COUNT: Final = {"type": "integer", "minimum": 0, "description": "How many users are in the topic."}
_SECONDS: Final = {"type": ["integer", "null"], "description": "Seconds until the credential ends."}

SAID: Final[dict[str, tuple[str, Json, tuple[str, ...]]]] = {
    "connected": (
        "The first message to whoever has shown a credential.",
        {"connection_id": {"type": "string"}, "user": {"type": ["string", "boolean"], "description": "False: none."},
         "heartbeat": {"type": "integer", "description": "Seconds between heartbeats."}, "cursor": _CURSOR},
        ("connection_id", "user", "heartbeat", "cursor"),
    ),
    "room_joined": (
        "Events follow from `cursor` on. `recovered` is there where a cursor was given; false: events are missing.",
        {"room": _ROOM, "cursor": _CURSOR, "recovered": {"type": "boolean"}, "presence": _USERS, "count": _COUNT},
        ("room", "cursor"),
    ),
    "room_left": (
        "Asked for, or with a `reason` where a right was lost.",
        {"room": _ROOM, "reason": {"type": "string"}}, ("room",),
    ),
    "event": (
        "An event of a room. An ephemeral one has no cursor.",
        {"room": _ROOM, "cursor": _CURSOR, "event": {"$ref": REF.format(name="Event")}}, ("room", "event"),
    ),
    "ack": (
        "What was published is in the log.",
        {"id": {"type": "string"}, "cursor": _CURSOR, "duplicate": {"type": "boolean"}}, ("id",),
    ),
    "presence": ("Who is in a topic.", {"room": _ROOM, "users": _USERS, "count": _COUNT}, ("room", "users", "count")),
    "user_joined": ("Some have come.", {"room": _ROOM, "users": _USERS, "count": _COUNT}, ("room", "users", "count")),
    "user_left": ("Some have gone.", {"room": _ROOM, "users": _USERS, "count": _COUNT}, ("room", "users", "count")),
    "gap": (
        "Events between the two cursors may be lost to this client; `to` replaces its cursor.",
        {"room": _ROOM, "from": _CURSOR, "to": _CURSOR}, ("room", "from", "to"),
    ),
    "heartbeat": ("A sign of life that keeps a quiet room's cursor young.", {"cursor": _CURSOR}, ()),
    "authenticated": ("The credential was taken.", {"expires_in": _SECONDS}, ()),
    "token_expiring": ("The connection ends soon; renew in band.", {"expires_in": _SECONDS}, ("expires_in",)),
    "pong": ("The answer to a ping.", {}, ()),
    "error": (
        "A message was refused; the connection goes on.",
        {"code": {"$ref": REF.format(name="ErrorCode")}, "message": {"type": "string"}}, ("code", "message"),
    ),
}  # fmt: skip
"""The hub's messages on a WebSocket: what each is for, its fields, and those that are always there."""

STREAMED: Final[dict[str, tuple[str, Json]]] = {
    "hub.connected": (
        "The first block; events follow from `cursor` on.",
        {"type": "object", "required": ["cursor"], "additionalProperties": False,
         "properties": {"cursor": _CURSOR, "recovered": {"type": "boolean"}}},
    ),
    "hub.gap": (
        "Events between the two cursors may be lost to this stream; its `id:` replaces the client's.",
        {"type": "object", "required": ["from", "to"], "additionalProperties": False,
         "properties": {"from": _CURSOR, "to": _CURSOR}},
    ),
    "hub.token_expiring": (
        "The stream ends soon.",
        {"type": "object", "required": ["expires_in"], "additionalProperties": False,
         "properties": {"expires_in": _SECONDS}},
    ),
    "message": ("An event; named by its type with `named=1`.", {"$ref": REF.format(name="Event")}),
}  # fmt: skip
"""The blocks of a stream by their `event:`: what each is for, and its data."""


def document() -> Json:
    """The whole document, as JSON values."""
    heard, schemas = _heard()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Hub: live connections", "version": VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "websocket": {
                "address": "/v1/ws", "title": "WebSocket, subprotocol `hub.v1.json`",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*heard, *map(_said, SAID))},
            },
            "stream": {
                "address": "/v1/stream", "title": "Server-sent events",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in map(_streamed, STREAMED)},
            },
        },
        "operations": {
            "hear": _operation("receive", "websocket", heard, "What a client says."),
            "say": _operation("send", "websocket", map(_said, SAID), "What the hub says."),
            "stream": _operation("send", "stream", map(_streamed, STREAMED), "The blocks of a stream."),
        },
        "components": {"messages": {**heard, **_messages()}, "schemas": {**schemas, **_schemas()}},
    }  # fmt: skip


def _heard() -> tuple[Json, Json]:
    """The messages of clients, and their schemas, from the types that decode them."""
    shapes = get_args(messages.Message)
    made, schemas = msgspec.json.schema_components(shapes, ref_template=REF)
    named = {f"client.{shape.__struct_config__.tag}": one for shape, one in zip(shapes, made, strict=True)}
    return {name: {"name": name.partition(".")[2], "payload": payload} for name, payload in named.items()}, schemas


def _messages() -> Json:
    found = {
        _said(name): {"name": name, "summary": summary, "payload": {"$ref": REF.format(name=_said(name))}}
        for name, (summary, _, _) in SAID.items()
    }
    return found | {
        _streamed(name): {"name": name, "summary": summary, "payload": {"$ref": REF.format(name=_streamed(name))}}
        for name, (summary, _) in STREAMED.items()
    }


def _schemas() -> Json:
    schemas: Json = {"Event": _event(), "ErrorCode": {"type": "string", "enum": [one.code for one in _codes()]}}
    for name, (_, fields, required) in SAID.items():
        schemas[_said(name)] = {
            "type": "object",
            "properties": {"type": {"const": name}, **fields, "ref": _REF},
            "required": ["type", *required],
            "additionalProperties": False,
        }
    return schemas | {_streamed(name): data for name, (_, data) in STREAMED.items()}


def _codes() -> tuple[type[HubError], ...]:
    return tuple(all_errors())


def _event() -> Json:
    """An envelope, as core.event builds it."""
    texts = [one.name for one in msgspec.structs.fields(EventInput) if one.name in ("source", "subject", "dataschema")]
    fields: Json = {name: {"type": "string"} for name in ("id", "type", "topic", "timestamp", *texts)}
    return {
        "type": "object",
        "properties": {**fields, "data": {}, "extensions": {"type": "object"}},
        "required": ["id", "type", "topic", "timestamp", "data"],
        "additionalProperties": False,
    }


def _operation(action: str, channel: str, names: Any, summary: str) -> Json:
    own = f"#/channels/{channel}"
    return {
        "action": action, "summary": summary, "channel": {"$ref": own},
        "messages": [{"$ref": f"{own}/messages/{name}"} for name in names],
    }  # fmt: skip


def _said(name: str) -> str:
    return f"hub.{name}"


def _streamed(name: str) -> str:
    return f"stream.{name.removeprefix('hub.')}"


_DESCRIPTION: Final = """\
What goes over a WebSocket and a stream of server-sent events. How rooms, cursors, replay and close codes work is in the
guide, docs/live.md; the HTTP API is described by [/openapi.json](/openapi.json).
"""
