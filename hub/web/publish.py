"""`POST /v1/events`: one event or a batch, checked as a whole, appended once, answered when it is durable."""

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.core import cloudevents
from hub.core import event as events
from hub.core.errors import Invalid
from hub.core.event import Event, EventInput
from hub.store.control import send_ephemeral
from hub.store.log import Appended
from hub.web.auth import authenticate
from hub.web.context import Context, context
from hub.web.http import content_type, now_ms, ok, read_body, request_id

_KINDS: Final = ("application/json", cloudevents.STRUCTURED, cloudevents.BATCH)
_KEY: Final = re.compile(r"[!-~]{1,255}")


async def publish(request: Request) -> Response:
    principal = await authenticate(request, "events:publish")
    items, is_batch = await _items(request)
    resources = context(request)
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid.field("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    now, most = now_ms(), resources.settings.max_event_bytes
    built = [
        events.build(
            item,
            id=_id(item, principal.app, key, index, now),
            now_ms=now,
            max_bytes=most,
            prefix=f"[{index}]." if is_batch else "",
        )
        for index, item in enumerate(items)
    ]
    answers = await publish_all(resources, principal.app, built, request_id(request))
    return ok(request, answers if is_batch else answers[0], 202)


async def _items(request: Request) -> tuple[list[EventInput], bool]:
    """What the request publishes, and whether as a batch: the hub's own JSON, or CloudEvents in any of three modes."""
    kind = content_type(request)
    if cloudevents.HEADER in request.headers and kind not in (cloudevents.STRUCTURED, cloudevents.BATCH):
        # Its type is the data's, and judged as such.
        body = await read_body(request, events.MAX_BATCH_BYTES, (kind,))
        return cloudevents.parse_binary(request.headers, body), False
    body = await read_body(request, events.MAX_BATCH_BYTES, _KINDS)
    if kind == _KINDS[0]:
        return events.parse(body)
    is_batch = kind == cloudevents.BATCH
    return cloudevents.parse(body, is_batch), is_batch


async def publish_all(resources: Context, app: str, built: list[Event], request: str) -> list[dict[str, Any]]:
    """Append the events (send the ephemeral ones); returns each one's answer, in order."""
    lasting = [event for event in built if not event.ephemeral]
    appended = iter(await resources.log.append(app, lasting, request) if lasting else ())
    if len(lasting) < len(built):
        await send_ephemeral(resources.link, app, [event for event in built if event.ephemeral])
    return [_ephemeral(event) if event.ephemeral else _answer(next(appended)) for event in built]


def _id(item: EventInput, app: str, key: str | None, index: int, now: int) -> str:
    if item.id is not None:
        return item.id
    return events.new_id(now) if key is None else events.derived_id(app, key, index)


def _answer(appended: Appended) -> dict[str, Any]:
    return {"id": appended.id, "cursor": appended.cursor, "topic": appended.topic, "type": appended.type,
            "timestamp": appended.timestamp, "duplicate": appended.duplicate}  # fmt: skip


def _ephemeral(event: Event) -> dict[str, Any]:
    return {"id": event.id, "cursor": None, "topic": event.topic, "type": event.type,
            "timestamp": event.timestamp, "duplicate": False}  # fmt: skip


routes = [Route("/v1/events", publish, methods=["POST"])]
