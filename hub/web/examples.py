"""Examples for the OpenAPI document: one for each type that an operation answers, by its class's name; and errors."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from hub.core.errors import HubError

Json: TypeAlias = dict[str, Any]
_EVENT_ID: Final = "evt_01a21316db207da99d3caf1a0264cf87"
_ENDPOINT_ID: Final = "ep_01a21316daf9dabad3d620c9"
_KEY_ID: Final = "key_01a21316dc396c0219e7bcbf"
_CURSOR: Final = "0-1a21316d843-1a21316db20-0"
_AT: Final = "2026-11-25T08:00:00.000Z"
_LATER: Final = "2026-11-25T08:00:05.000Z"
_REQUEST_ID: Final = "req_0123456789abcdef01234567"
META: Final[Json] = {"request_id": _REQUEST_ID, "timestamp": _AT}
_PAGE: Final[Json] = {"next_cursor": None, "prev_cursor": None, "limit": 50, "has_more": False}

_BACKLOG: Final[Json] = {"total": 3, "fresh": 1, "retrying": 1, "in_flight": 1, "in_line": 0}
_DELIVERY: Final[Json] = {
    "id": f"dlv_{_CURSOR}_01a21316daf9dabad3d620c9",
    "endpoint": _ENDPOINT_ID,
    "event": {"id": _EVENT_ID, "type": "order.created", "topic": "orders.42"},
    "origin": None,
    "status": "pending",
    "attempt_count": 1,
    "created_at": _AT,
    "next_attempt_at": _LATER,
    "ended_at": None,
}
_ENDPOINT: Final[Json] = {
    "id": _ENDPOINT_ID,
    "url": "https://partner.example/hooks",
    "description": "orders to the warehouse",
    "types": ["order.*"],
    "topics": None,
    "filter": None,
    "transform": None,
    "format": "standard",
    "signature": "v1",
    "headers": {},
    "ordered": False,
    "max_in_flight": 10,
    "max_backlog": 100_000,
    "rate_limit": {"limit": 100, "period": 1},
    "timeout": 15.0,
    "retry": {"schedule": [5.0, 300.0, 1800.0, 7200.0]},
    "metadata": {},
    "handshake": False,
    "permission": None,
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "breaker": "closed",
    "created_at": _AT,
    "updated_at": _AT,
}
_KEY: Final[Json] = {
    "id": _KEY_ID,
    "app": "default",
    "name": "shop",
    "role": "publisher",
    "scopes": ["events:publish"],
    "created_at": _AT,
    "expires_at": "2026-11-26T08:00:00.000Z",
    "last_used_at": None,
}
_SECRET: Final = "whsec_" + "A" * 43 + "="
_SIGNING_KEY: Final[Json] = {
    "id": "sig_01a21316dc396c0219e7bcbf",
    "algorithm": "HS256",
    "public_key": None,
    "created_at": _AT,
}
_TRAFFIC: Final[Json] = {"events": 40, "attempts": 41, "succeeded": 40, "exhausted": 0, "success_rate": 0.976}
_WINDOW: Final[Json] = {
    "attempts": 41,
    "answers": {"2xx": 40, "3xx": 0, "4xx": 0, "5xx": 1, "none": 0},
    "success_rate": 0.976,
    "succeeded": 40,
    "exhausted": 0,
    "cancelled": 0,
    "latency_ms": {"p50": 31, "p90": 72, "p95": 90, "p99": 140},
}
_DATA: Final[Json] = {
    "AccessToken": {"access_token": "hubat_…", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "hubrt_…",
                    "scope": "events:publish"},
    "AppOut": {"id": "shop", "name": "The shop", "enabled": True,
               "tokens": {"issuer": None, "audience": None, "jwks_url": None}, "plan": None,
               "created_at": _AT, "updated_at": _AT},
    "AppStats": {"app": "shop", "at": _AT, "connections": 12, "topics": 5, "endpoints": 2,
                 "rate": {"events": 0.5, "attempts": 0.5},
                 "traffic": dict.fromkeys(("total", "1h", "24h", "7d"), _TRAFFIC),
                 "standing": {"counted_at": _AT, "states": {"enabled": 2}, "breakers": {"closed": 2},
                              "backlog": _BACKLOG, "oldest_owed_at": _AT, "next_retry_at": _LATER}},
    "AuditEntry": {"actor": f"key:{_KEY_ID}", "action": "PATCH /v1/endpoints/{id}", "target": _ENDPOINT_ID,
                   "fields": ["description"], "address": "192.0.2.7", "request_id": _REQUEST_ID, "status": 200,
                   "error": None, "id": "aud_1795616594922-0", "at": _AT},
    "DeletedApp": {"id": "shop", "deleted": True},
    "Delivery": _DELIVERY,
    "DeliveryDetail": {**_DELIVERY, "attempts": [
        {"number": 1, "at": _AT, "duration_ms": 31, "status": 503, "error": "status",
         "headers": {"content-type": "text/plain"}, "body": "try later"},
    ]},
    "DisconnectedUser": {"user": "ann"},
    "Endpoint": _ENDPOINT,
    "EndpointStats": {"endpoint": _ENDPOINT_ID, "enabled": True, "disabled_reason": None, "failing_since": None,
                      "breaker": "closed", "backlog": _BACKLOG, "oldest_owed_at": _AT,
                      "windows": dict.fromkeys(("1h", "24h", "7d"), _WINDOW)},
    "Event": {"id": _EVENT_ID, "type": "order.created", "topic": "orders.42", "timestamp": _AT, "data": {"total": 99},
              "cursor": _CURSOR},
    "EventType": {"type": "order.created", "description": "an order came in", "schema": {"required": ["total"]},
                  "example": {"total": 99}, "created_at": _AT, "updated_at": _AT},
    "Health": {"status": "ok"},
    "Job": {"id": "job_01a21316daf9dabad3d620c9_3", "endpoint": _ENDPOINT_ID, "kind": "replay", "status": "running",
            "reason": None, "since": "2026-11-24T08:00:00.000Z", "until": _AT, "progress": 0.5, "owed": 20,
            "hastened": 0, "expired": 0, "created_at": _AT, "updated_at": _AT, "ended_at": None},
    "Key": _KEY,
    "Members": {"topic": "orders.42", "users": ["ann"], "count": 1},
    "NewEndpoint": {**_ENDPOINT, "secret": _SECRET},
    "NewKey": {**_KEY, "key": f"hubsk_{_KEY_ID.removeprefix('key_')}_…"},
    "NewSigningKey": {**_SIGNING_KEY, "secret": "a-secret-that-the-app-shares-with-us"},
    "Permission": {"endpoint": _ENDPOINT_ID, "rate": 120},
    "Portal": {"url": "https://hub.example/portal#token=…", "expires_in": 3600, "jti": "e01582b5810c3b50"},
    "Published": {"id": _EVENT_ID, "cursor": _CURSOR, "topic": "orders.42", "type": "order.created",
                  "timestamp": _AT, "duplicate": False},
    "Revoked": {"revoked": "user"},
    "SigningKeyOut": _SIGNING_KEY,
    "SigningSecrets": {"secret": _SECRET, "signature": "v1", "previous": []},
    "Ticket": {"ticket": "tkt_…", "expires_in": 60},
    "Token": {"token": "eyJ…", "expires_in": 600},
    "TopicCount": {"topic": "orders.42", "count": 3},
}  # fmt: skip
STREAM: Final = (
    f'id: 0-1a21316d843-0-0\nevent: hub.connected\ndata: {{"cursor":"0-1a21316d843-0-0"}}\n\nid: {_CURSOR}\n'
    f'data: {{"id":"{_EVENT_ID}","type":"order.created","topic":"orders.42","timestamp":"{_AT}","data":{{"total":99}}}}'
    "\n\n"
)
METRICS: Final = "# TYPE hub_log_bytes gauge\nhub_log_bytes 1048576.0\n"
CLOUD_EVENT: Final[Json] = {
    "specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created", "topic": "orders.42",
    "data": {"total": 99},
}  # fmt: skip
WEBHOOK: Final[Json] = {name: value for name, value in _DATA["Event"].items() if name != "cursor"}


def data_of(answer: Any) -> Any:
    """An example of the type; of several, of the first."""
    return _DATA[getattr(answer, "__args__", (answer,))[0].__name__]


def envelope(answer: Any, properties: Sequence[str], *, is_list: bool) -> Json:
    """An example of a whole success with these members."""
    data = data_of(answer)
    members = {"success": True, "data": [data] if is_list else data, "pagination": _PAGE, "meta": META}
    return {name: members[name] for name in properties}


def failure(error: type[HubError]) -> Json:
    """An example of an error's envelope."""
    told: Json = {
        "code": error.code,
        "message": error.title,
        "details": [],
        "hint": error.mend,
        "docs": f"/docs/errors/{error.code}",
    }
    return {"success": False, "error": told, "meta": META}


def problem(error: type[HubError]) -> Json:
    """The same error as problem details (RFC 9457)."""
    told = failure(error)["error"]
    same = {name: told[name] for name in ("code", "details", "hint")}
    return {"type": told["docs"], "title": error.title, "status": error.status, "detail": told["message"], **same,
            "request_id": _REQUEST_ID}  # fmt: skip
