"""The parts of the OpenAPI document that no operation declares: headers, credentials, and webhooks."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from hub.web.examples import CLOUD_EVENT, WEBHOOK

Json: TypeAlias = dict[str, Any]


def _text(description: str, **more: Any) -> Json:
    return {"description": description, "schema": {"type": "string", **more}}


def _number(description: str) -> Json:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}}


class SentEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event as an endpoint gets it; attributes of CloudEvents beside it where the publisher gave them."""

    id: str
    type: str
    topic: str
    timestamp: str
    data: Any
    source: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] | None = None


HEADERS: Final[Json] = {
    "X-Request-ID": _text(
        "The request's id: the one that was sent, or a new one. It follows an event to its attempts."
    ),
    "API-Version": _text("Which version of the API this is."),
    "ETag": _text("Stands for `data` and `pagination`; for If-None-Match, and If-Match."),
    "Retry-After": _number("Seconds after which a retry can succeed (RFC 9110, section 10.2.3)."),
    "WWW-Authenticate": _text("How to authenticate (RFC 6750)."),
    "RateLimit": _text("What is left of the limit, and when it is renewed."),
    "RateLimit-Policy": _text("The limits that apply."),
    "X-RateLimit-Limit": _number("How many requests are allowed in the window."),
    "X-RateLimit-Remaining": _number("How many are left."),
    "X-RateLimit-Reset": _number("When they are renewed."),
    "Idempotency-Replay": _text("`true` where this is the stored answer of the first request.", enum=["true"]),
    "Allow": _text("The methods of the path; of OPTIONS and 405."),
    "Deprecation": _text("Since when this version is retired (RFC 9745)."),
    "Sunset": _text("When this version ends (RFC 8594)."),
    "Link": _text("Where a retired version's successor and documents are (RFC 8288)."),
}
PARAMETERS: Final[Json] = {
    name: {"name": name, "in": "header", "required": False, **part}
    for name, part in {
        "X-Request-ID": _text("An id of the client's own.", pattern="^[A-Za-z0-9._:-]{1,128}$"),
        "API-Version": _text("The version of the API; the path's own, or for a path without one.", enum=["1"]),
        "Idempotency-Key": _text("A retry with the same key and body does nothing twice.", pattern="^[!-~]{1,255}$"),
        "If-None-Match": _text("An ETag: 304 where nothing has changed."),
        "If-Match": _text("An ETag: 412 where something has changed."),
        "Last-Event-ID": _text("The cursor after which a stream goes on."),
    }.items()
}
SECURITY: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, an OAuth access token, or a JWT."},
    "token": {"type": "apiKey", "in": "query", "name": "token", "description": "The same, where headers can't be set."},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "From `POST /v1/tickets`."},
    "client": {"type": "http", "scheme": "basic", "description": "An API key's id and text, as OAuth's client."},
}
_SIGNED: Final = (
    ("webhook-id", "The event's id; the same in each attempt. Deduplicate by it."),
    ("webhook-timestamp", "When this attempt was made, in seconds since 1970."),
    ("webhook-signature", "`v1,` HMAC-SHA256 or `v1a,` ed25519 over `id.timestamp.body` (Standard Webhooks)."),
)
OPERATIONAL: Final = {
    "hub.endpoint.disabled": "An endpoint was disabled: `reason` is gone, failing or backlog.",
    "hub.endpoint.failing": "An endpoint's breaker has opened.",
    "hub.endpoint.recovered": "An endpoint took a delivery again.",
    "hub.endpoint.filter_failed": "An endpoint's filter or transform failed on an event.",
    "hub.delivery.exhausted": "A delivery was given up after its last attempt.",
}
"""Types of the hub's own events, on the topic `hub.operational`, which an endpoint may be registered for."""


def webhooks(schema: Callable[[Any], Json]) -> Json:
    """What the hub sends to endpoints: any event, and its own."""
    event = schema(SentEvent)
    told = "What was published, to each endpoint whose `types`, `topics` and `filter` match it."
    own = {name: _webhook(name, text, _own(name, event)) for name, text in OPERATIONAL.items()}
    return {"event": _webhook("event", told, event), **own}


def _own(name: str, event: Json) -> Json:
    return {"allOf": [event, {"properties": {"type": {"const": name}, "topic": {"const": "hub.operational"}}}]}


def _webhook(name: str, description: str, body: Json) -> Json:
    parameters = [
        {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for header, text in _SIGNED
    ]
    own = {} if name == "event" else {"type": name, "topic": "hub.operational"}
    content = {
        "application/json": {"schema": body, "example": WEBHOOK | own},
        "application/cloudevents+json": {"schema": {"type": "object"}, "example": CLOUD_EVENT | own},
    }
    answers = {
        "2XX": {"description": "Delivered."},
        "410": {"description": "Wanted no more: the endpoint is disabled."},
        "429": {"description": "Too many: the next attempt waits at least `Retry-After`."},
        "503": {"description": "Not now: the next attempt waits at least `Retry-After`."},
        "default": {"description": "Failed: retried on the endpoint's schedule. Redirects are not followed."},
    }
    words = "".join(part.capitalize() for part in name.replace("_", ".").split("."))
    post = {"operationId": f"on{words}", "tags": ["webhooks"], "summary": description.partition(":")[0],
            "description": description, "parameters": parameters,
            "requestBody": {"required": True, "content": content}, "responses": answers, "security": []}  # fmt: skip
    return {"post": post}
