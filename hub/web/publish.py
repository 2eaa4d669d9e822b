"""`POST /v1/events`: one event or a batch, checked as a whole, appended once, answered when it is durable."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from opentelemetry.trace import SpanKind
from starlette.requests import Request

from hub import metrics, tracing
from hub.core import cloudevents
from hub.core import event as events
from hub.core.errors import LogFull, UnsupportedMediaType
from hub.core.event import Event, EventInput
from hub.core.origin import Origin, check_traceparent
from hub.store.appends import Appended
from hub.store.catalogue import Checked
from hub.store.control import send_ephemeral
from hub.store.requests import Claim
from hub.web.auth import scope
from hub.web.context import Context
from hub.web.examples import CLOUD_EVENT
from hub.web.http import content_type, now_ms, request_id
from hub.web.idempotency import REPLAY
from hub.web.operation import Body, Call, Operation

_CLOUD_EVENT: Final = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {"specversion": {"const": "1.0"}, **{name: {"type": "string"} for name in ("id", "source", "type")}},
    "description": "A CloudEvent (1.0). Its topic is the extension `topic`, else `subject`, else the type.",
}
_KINDS: Final = ("application/json", cloudevents.STRUCTURED, cloudevents.BATCH)


class Given(msgspec.Struct, frozen=True):
    """What a request publishes, and whether as a batch."""

    items: list[EventInput]
    is_batch: bool


class Published(msgspec.Struct, frozen=True):
    """An event's receipt, for the one that was appended the store's. `cursor` is null for an ephemeral one; a
    duplicate's is the first event's."""

    id: str
    cursor: str | None
    topic: str
    type: str
    timestamp: str
    duplicate: bool


async def publish(call: Call[Given]) -> Any:
    """One event, or an array of up to 1000, which is checked as a whole. It is answered once it is durable."""
    key = None if call.claim is None else call.claim.scope
    given, app, now, most = call.body, call.app, now_ms(), call.resources.settings.max_event_bytes
    if key is not None:
        ids = events.derived_ids(app, key)
    else:
        ids = events.new_ids(now) if given.is_batch else (events.new_id(now),)
    built = [
        events.build(
            item,
            id=own if item.id is None else item.id,
            now_ms=now,
            max_bytes=most,
            prefix=prefix,
        )
        for item, own, prefix in zip(given.items, ids, events.PREFIXES if given.is_batch else ("",), strict=False)
    ]
    if call.principal.publish is not None:
        for event in built:
            call.principal.require_publish(event.topic)
    if call.resources.catalogue.has(app):
        await check_types(call.resources, app, given.items, given.is_batch)
    asked, parent = request_id(call.request), check_traceparent(call.request.headers.get("traceparent"))
    with tracing.span("publish", parent, SpanKind.PRODUCER, request=asked, events=len(built)) as at:
        origin = asked if at is None else str(Origin(asked, at))
        answers = await publish_all(call.resources, app, built, origin, call.claim)
    if key is not None and all(answer.duplicate for answer in answers):
        call.headers[REPLAY] = "true"
    return answers if given.is_batch else answers[0]


def _parse(request: Request, body: bytes) -> Given:
    """The hub's own JSON, or CloudEvents in any of three modes."""
    kind = content_type(request)
    if kind == cloudevents.STRUCTURED or kind == cloudevents.BATCH:
        is_batch = kind == cloudevents.BATCH
        return Given(cloudevents.parse(body, is_batch), is_batch)
    if cloudevents.HEADER in request.headers:  # its type is the data's, and judged as such
        return Given(cloudevents.parse_binary(request.headers, body), False)
    if kind != "application/json":
        raise UnsupportedMediaType(f"Content-Type {kind!r} is not understood; send {' or '.join(_KINDS)}")
    return Given(*events.parse(body))


async def check_types(resources: Context, app: str, items: list[EventInput], is_batch: bool = False) -> None:
    """Raise Invalid unless each event's data is as the catalogue has it for its type."""
    fields = (f"[{index}].data" if is_batch else "data" for index in range(len(items)))
    checked = [Checked(item.type, bytes(item.data), field) for item, field in zip(items, fields, strict=True)]
    await resources.catalogue.check(app, checked)


async def publish_all(
    resources: Context, app: str, built: list[Event], origin: str, claim: Claim | None = None
) -> Sequence[Appended | Published]:
    """Append the events (send the ephemeral ones); returns each one's answer, in order. `origin`: see core.origin.

    Raises IdempotencyKeyReused where the claim's key came with another request. Where that can be checked in the append
    itself, it costs no round trip of its own.
    """
    lasting = [event for event in built if not event.ephemeral]
    checked, is_new = None, True
    if claim is not None and len(lasting) == len(built) and resources.log.partitions == 1:
        checked = (resources.requests.key(claim), claim.fingerprint)
    elif claim is not None:
        is_new = await resources.requests.claim(claim, resources.settings.retention)
    done: list[Appended] = []
    if lasting:
        with tracing.step("append", events=len(lasting)):
            done = await resources.log.append(app, lasting, origin, checked)
        duplicates = [one.duplicate for one in done].count(True)
        metrics.PUBLISHED_APPENDED.inc(len(done) - duplicates)
        metrics.PUBLISHED_DUPLICATE.inc(duplicates)
    if len(lasting) < len(built) and is_new:  # nothing repeats what lasts for a moment
        await send_ephemeral(resources.link, app, [event for event in built if event.ephemeral])
        metrics.PUBLISHED_EPHEMERAL.inc(len(built) - len(lasting))
    if len(lasting) == len(built):
        return done
    appended = iter(done)
    return [_ephemeral(event, not is_new) if event.ephemeral else next(appended) for event in built]


def _ephemeral(event: Event, duplicate: bool) -> Published:
    return Published(event.id, None, event.topic, event.type, event.timestamp, duplicate)


operations = (
    Operation(
        "POST", "/v1/events", publish, "Publish events", scope("events:publish"),
        body=Body(Given, media=None, limit=events.MAX_BATCH_BYTES, parse=_parse,
                  documented=EventInput | list[EventInput],
                  example={"topic": "orders.42", "type": "order.created", "data": {"total": 99}},
                  also={cloudevents.STRUCTURED: {"schema": _CLOUD_EVENT, "example": CLOUD_EVENT},
                        cloudevents.BATCH: {"schema": {"type": "array", "items": _CLOUD_EVENT},
                                            "example": [CLOUD_EVENT]}}),
        answer=Published | list[Published], status=202, errors=(LogFull,), recorded=False,
    ),
)  # fmt: skip
