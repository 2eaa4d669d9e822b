"""Publishing without a server: bodies as publishers send them, and what becomes of them."""

import json
from typing import Any, NoReturn

import msgspec
import pytest

from hub.core import event as events
from hub.core.errors import HubError
from hub.core.event import Event

LIMIT = 256 * 1024
NOW = 1_767_225_600_000


class Number(str):
    """A number's spelling, so that 1, 1.0 and 1e0 compare as different."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def reference_loads(text: bytes | str) -> Any:
    """The standard library's JSON, made strict (no NaN) and telling numbers apart by their spelling."""
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)


def publish(body: bytes, max_bytes: int = LIMIT) -> list[Event]:
    """What the publish route does with a body."""
    items, is_batch = events.parse(body)
    return [
        events.build(item, id=item.id or "evt_1", now_ms=NOW, max_bytes=max_bytes, prefix=f"[{n}]." if is_batch else "")
        for n, item in enumerate(items)
    ]


def outcome(body: bytes) -> list[Event] | HubError:
    try:
        return publish(body)
    except HubError as exc:
        return exc


def body_of(data: bytes, **more: object) -> bytes:
    head = msgspec.json.encode({"topic": "orders.42", "type": "order.created", **more})
    return head[:-1] + b',"data":' + data + b"}"


def refusal(body: bytes, max_bytes: int = LIMIT) -> HubError:
    with pytest.raises(HubError) as caught:
        publish(body, max_bytes)
    return caught.value


def fields(exc: HubError) -> list[str]:
    return [detail.field for detail in exc.details]
