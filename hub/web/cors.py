"""Which pages of other origins may ask (Fetch standard, "CORS protocol"), and what they are told when they may not."""

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.core.errors import Detail, Invalid
from hub.web.http import failed

ASKED: Final = (
    "Accept", "API-Version", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
    "Last-Event-ID", "X-Request-ID",
)  # fmt: skip
"""Headers that a page of another origin may send."""
TOLD: Final = (
    "API-Version", "Allow", "Deprecation", "ETag", "Idempotency-Replay", "Link", "RateLimit", "RateLimit-Policy",
    "Retry-After", "Sunset", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-ID",
)  # fmt: skip
"""Headers of answers that it may read."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def cors(origins: tuple[str, ...]) -> list[Middleware]:
    """The layer that lets pages of these origins ask, or of all by `*`."""
    if not origins:
        return []
    return [
        Middleware(
            _Cors,
            allow_origins=origins,
            allow_credentials="*" not in origins,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=TOLD,
        )
    ]


class _Cors(CORSMiddleware):
    """Starlette's, whose refusal of a preflight is a plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        return _Refused(self._faults(request_headers), response.headers)

    def _faults(self, asked: Headers) -> tuple[Detail, ...]:
        faults: list[Detail] = []
        origin, method = asked["origin"], asked["access-control-request-method"]
        if not self.is_allowed_origin(origin):
            faults.append(Detail("Origin", f"{origin[:100]!r} is not among those of HUB_CORS_ORIGINS"))
        if method not in METHODS:
            known = ", ".join(METHODS)
            faults.append(Detail("Access-Control-Request-Method", f"{method[:40]!r} is not allowed; allowed: {known}"))
        names = [name.strip() for name in asked.get("access-control-request-headers", "").split(",")]
        if foreign := [name for name in names if name and name.lower() not in self.allow_headers]:
            shown, known = ", ".join(foreign)[:100], ", ".join(ASKED)
            faults.append(Detail("Access-Control-Request-Headers", f"{shown!r} is not allowed; allowed: {known}"))
        if "access-control-request-private-network" in asked:
            faults.append(Detail("Access-Control-Request-Private-Network", "is not allowed"))
        return tuple(faults)


class _Refused(Response):
    """A preflight's refusal in the hub's shape; it learns of the request when it is sent."""

    def __init__(self, faults: tuple[Detail, ...], headers: Headers) -> None:
        super().__init__(status_code=Invalid.status)
        self._faults = faults
        self._told = {name: value for name, value in headers.items() if not name.startswith("content-")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = "; ".join(f"{fault.field}: {fault.message}" for fault in self._faults)
        response = failed(Request(scope), Invalid(message, self._faults))
        response.headers.update(self._told)
        await response(scope, receive, send)
