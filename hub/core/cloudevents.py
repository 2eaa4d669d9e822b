"""CloudEvents 1.0, in and out: the JSON format (structured mode and batches) and the HTTP binding (binary mode).

An event of the hub has what a CloudEvent has; `timestamp` is `time`, the topic is the extension `topic`, and other
extensions are its `extensions`. Data is JSON: what isn't is refused, since it could not be carried to everybody.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote, unquote

import msgspec

from hub.core.decoding import from_msgspec
from hub.core.errors import Invalid, InvalidJson, PayloadTooLarge
from hub.core.event import MAX_BATCH, MAX_BATCH_BYTES, EventInput, check_text

Format: TypeAlias = Literal["standard", "cloudevents-binary", "cloudevents-structured"]

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
HEADER: Final = "ce-specversion"
"""The header that a request in binary mode has."""
SOURCE: Final = "hub"
"""The `source` of an event that was published without one; CloudEvents wants one."""
_JSON: Final = "application/json"
_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
_KNOWN: Final = frozenset(("specversion", "id", "type", "source", "time", "subject", "dataschema", "datacontenttype",
                           "topic", "data"))  # fmt: skip


class _Held(msgspec.Struct):
    """An event as the hub holds it."""

    id: str
    type: str
    topic: str
    timestamp: str
    data: msgspec.Raw
    source: str = SOURCE
    subject: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] = {}


_held = msgspec.json.Decoder(_Held)
_one = msgspec.json.Decoder(dict[str, msgspec.Raw])
_many = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_encode = msgspec.json.Encoder().encode


# -- out -------------------------------------------------------------------------------------------------------------


def structured(event: bytes, data: bytes | None = None) -> bytes:
    """An event as a CloudEvent in one JSON object; `data` takes the place of its data."""
    held = _held.decode(event)
    body: dict[str, Any] = {**_attributes(held), "datacontenttype": _JSON}
    return _encode({**body, "data": held.data if data is None else msgspec.Raw(data)})


def binary(event: bytes, data: bytes | None = None) -> tuple[dict[str, str], bytes]:
    """An event as `ce-` headers and its data (HTTP binding 1.0, section 3.1)."""
    held = _held.decode(event)
    headers = {f"ce-{name}": quote(_text(value), safe=_SAFE) for name, value in _attributes(held).items()}
    return {**headers, "content-type": _JSON}, bytes(held.data) if data is None else data


def _attributes(held: _Held) -> dict[str, str | int | bool]:
    found: dict[str, str | int | bool | None] = {
        "specversion": "1.0", "id": held.id, "source": held.source or SOURCE, "type": held.type,
        "time": held.timestamp, "subject": held.subject or None, "dataschema": held.dataschema or None,
        "topic": held.topic, **held.extensions,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- in --------------------------------------------------------------------------------------------------------------


def parse(body: bytes, is_batch: bool) -> list[EventInput]:
    """The events of a structured request or a batch. Raises Invalid, PayloadTooLarge."""
    if len(body) > MAX_BATCH_BYTES:
        raise PayloadTooLarge(f"The body has {len(body)} bytes; allowed are {MAX_BATCH_BYTES}")
    check_text(body)
    try:
        found = _many.decode(body) if is_batch else [_one.decode(body)]
    except msgspec.MsgspecError as exc:
        raise from_msgspec(exc) from None
    except RecursionError:
        raise Invalid.field("body", "is nested too deep") from None
    if not found:
        raise Invalid.field("body", f"the batch is empty; allowed are 1 to {MAX_BATCH} events")
    if len(found) > MAX_BATCH:
        raise PayloadTooLarge(f"The batch has {len(found)} events; allowed are {MAX_BATCH}")
    return [_structured(one, f"[{index}]." if is_batch else "") for index, one in enumerate(found)]


def parse_binary(headers: Mapping[str, str], body: bytes) -> list[EventInput]:
    """The event of a request in binary mode; header names are lower-case. Raises Invalid."""
    attributes: dict[str, str | int | bool] = {}
    for name, value in headers.items():
        if name.startswith("ce-"):
            try:
                attributes[name[3:]] = unquote(value.strip('"'), errors="strict")
            except UnicodeDecodeError:
                raise Invalid.field(name, "is not percent-encoded UTF-8") from None
    attributes["datacontenttype"] = headers.get("content-type", _JSON)
    data = msgspec.Raw(body.strip() or b"null")
    item = _event(attributes, data, "")  # first, since it judges whether the body is JSON at all
    check_text(body)
    try:
        msgspec.json.decode(data)
    except msgspec.MsgspecError as exc:
        raise InvalidJson(f"The body is not valid JSON: {exc}") from None
    except RecursionError:
        raise Invalid.field("data", "is nested too deep") from None
    return [item]


def _structured(given: dict[str, msgspec.Raw], prefix: str) -> EventInput:
    if "data_base64" in given:
        raise Invalid.field(f"{prefix}data_base64", "is not carried; the hub's data is JSON")
    data = given.pop("data", msgspec.Raw(b"null"))
    attributes: dict[str, str | int | bool] = {}
    for name, raw in given.items():
        try:
            value = msgspec.json.decode(raw, type=str | int | bool | None)
        except msgspec.MsgspecError:
            raise Invalid.field(f"{prefix}{name[:80]}", "must be a text, a whole number, true or false") from None
        if value is not None:  # null means absent (JSON format, section 2.2)
            attributes[name] = value
    return _event(attributes, data, prefix)


def _event(attributes: dict[str, str | int | bool], data: msgspec.Raw, prefix: str) -> EventInput:
    def text(name: str) -> str | None:
        value = attributes.get(name)
        if value is not None and not isinstance(value, str):
            raise Invalid.field(f"{prefix}{name}", "must be a text")
        return value

    if attributes.get("specversion") != "1.0":
        raise Invalid.field(f"{prefix}specversion", 'must be "1.0"')
    for name in ("id", "source", "type"):
        if not text(name):
            raise Invalid.field(f"{prefix}{name}", "is missing; CloudEvents wants id, source and type")
    kind = (text("datacontenttype") or _JSON).partition(";")[0].strip().lower()
    if kind != _JSON and not kind.endswith("+json"):
        raise Invalid.field(f"{prefix}datacontenttype", f"{kind[:80]!r} is not carried; the hub's data is JSON")
    return EventInput(
        topic=text("topic") or text("subject") or text("type") or "",
        type=text("type") or "",
        data=data,
        id=text("id"),
        timestamp=text("time"),
        source=text("source"),
        subject=text("subject"),
        dataschema=text("dataschema"),
        extensions={name: value for name, value in attributes.items() if name not in _KNOWN} or None,
    )
