"""The one tree of errors: what went wrong, how HTTP and WebSocket say it, and whether a retry helps.

`code` is stable and part of the contract; `status` is the HTTP status (RFC 9110); `close_code` closes a WebSocket
(RFC 6455, section 7.4; 4000 and up are the hub's own); `retry_after` is in seconds and set where a retry can succeed.
"""

import re
from typing import ClassVar, Final, NamedTuple

import msgspec


class Detail(NamedTuple):
    """One field's fault: where it is, what is wrong and what is allowed."""

    field: str
    message: str


class HubError(Exception):
    """The root. Subclasses fix code, status and close code; an instance adds its message and details."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    retry_after: int | None = None

    def __init__(self, message: str, details: tuple[Detail, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(HubError):
    """The request's content breaks a rule; `details` names each field."""

    code = "VALIDATION_FAILED"
    status = 400
    close_code = 4000

    @classmethod
    def field(cls, field: str, message: str) -> "Invalid":
        return cls(f"{field}: {message}", (Detail(field, message),))


class InvalidJson(Invalid):
    code = "INVALID_JSON"


class InvalidCursor(Invalid):
    code = "INVALID_CURSOR"


class EndpointUrlForbidden(Invalid):
    """The endpoint's URL is one that the hub must not call."""

    code = "ENDPOINT_URL_FORBIDDEN"


class Unauthenticated(HubError):
    code = "UNAUTHENTICATED"
    status = 401
    close_code = 4001


class Forbidden(HubError):
    code = "FORBIDDEN"
    status = 403
    close_code = 4003


class NotFound(HubError):
    code = "NOT_FOUND"
    status = 404
    close_code = 4000


class MethodNotAllowed(HubError):
    code = "METHOD_NOT_ALLOWED"
    status = 405
    close_code = 4000


class NotAcceptable(HubError):
    code = "NOT_ACCEPTABLE"
    status = 406
    close_code = 4000


class Conflict(HubError):
    code = "CONFLICT"
    status = 409
    close_code = 4000


class PayloadExpired(HubError):
    """A delivery's event is no longer kept, so it can't be sent again."""

    code = "PAYLOAD_EXPIRED"
    status = 410
    close_code = 4000


class PayloadTooLarge(HubError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413
    close_code = 1009


class UnsupportedMediaType(HubError):
    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    close_code = 4000


class RateLimited(HubError):
    """The client asks for more than it may, now; waiting helps."""

    code = "RATE_LIMITED"
    status = 429
    close_code = 4029
    retry_after = 1

    @classmethod
    def by(cls, name: str, message: str, retry_after: int) -> "RateLimited":
        """The limit of this name refuses for so many seconds."""
        error = cls(message, (Detail("limit", name),))
        error.retry_after = retry_after
        return error


class NotConfigured(HubError):
    """The deployment lacks a setting that this needs; waiting doesn't help."""

    code = "NOT_CONFIGURED"
    status = 501


class KeysUnavailable(HubError):
    """The keys that another issuer publishes for its tokens can't be fetched."""

    code = "KEYS_UNAVAILABLE"
    status = 503
    close_code = 1013
    retry_after = 10


class StoreUnavailable(HubError):
    """The store did not answer in time, or said that it can't serve. What was asked may or may not have happened."""

    code = "STORE_UNAVAILABLE"
    status = 503
    close_code = 1013
    retry_after = 1


class LogFull(HubError):
    """The store or the log is at its limit: nothing more is accepted until deliveries or retention free room."""

    code = "LOG_FULL"
    status = 503
    close_code = 1013
    retry_after = 10


_AT = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`\Z")
_NAMED = re.compile(r"fields? `(?P<name>.*)`", re.DOTALL)
_MAX_SHOWN: Final = 200


def from_msgspec(exc: msgspec.MsgspecError, root: str = "") -> Invalid:
    """Turn a decoding error into ours, naming the field (`root` stands for the whole document)."""
    if not isinstance(exc, msgspec.ValidationError):
        return InvalidJson(f"The body is not valid JSON: {exc}", (Detail(root or "body", str(exc)),))
    message, path = str(exc), ""
    if found := _AT.search(message):
        message, path = message[: found.start()], found["path"]
    if named := _NAMED.search(message):  # a missing or unknown field is named in the text, its parent in the path
        path = f"{path}.{_shown(named['name'])}"
    field = (root + path).lstrip(".") or "body"
    return Invalid.field(field, _shown(message))


def _shown(text: str) -> str:
    """A text that holds what the client sent, cut: an answer must not be as big as the request."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
