"""Errors told on a connection that has no request yet, or none that can be read: bytes instead of a response."""

import random
from http import HTTPStatus
from typing import Final

from hub import metrics
from hub.core.errors import HubError
from hub.core.event import now_text
from hub.web.accept import JSON
from hub.web.exchange import join
from hub.web.http import SECURITY, ErrorBody, encode, now_ms

_SAME: Final = join([(b"content-type", JSON.encode()), (b"connection", b"close"), *SECURITY])


def refusal(error: HubError, *headers: tuple[bytes, bytes]) -> bytes:
    """An error's whole answer in HTTP/1.1, after which the connection is to be closed."""
    metrics.ERRORS.labels(error.code).inc()
    request_id = f"req_{random.getrandbits(96):024x}"
    told = ErrorBody(error.code, error.message, [], error.mend, f"/docs/errors/{error.code}")
    meta = {"request_id": request_id, "timestamp": now_text(now_ms())}
    body = encode({"success": False, "error": told, "meta": meta})
    own = join([(b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode()), *headers])
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    return b"%b%b%b\r\n%b" % (status, own, _SAME, body)
