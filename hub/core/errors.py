"""The one tree of errors: what went wrong, how HTTP and WebSocket say it, and whether a retry helps.

`code` is stable and part of the contract; `status` is the HTTP status (RFC 9110); `close_code` closes a WebSocket
(RFC 6455, section 7.4; 4000 and up are the hub's own); `retry_after` is in seconds and set where a retry can succeed;
`title` says what it means and `mend` what to do, in a line each. The docstring is the text of the error's own page, and
docs/errors.md repeats all of it.
"""

from typing import ClassVar, NamedTuple


class Detail(NamedTuple):
    """One field's fault: where it is, what is wrong and what is allowed."""

    field: str
    message: str


class HubError(Exception):
    """A defect of the hub. Its log has the cause under the `request_id` of the answer. A retry may succeed."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    title: ClassVar[str] = "a fault of the hub's own"
    mend: ClassVar[str] = "retry; report the `request_id`"
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    retry_after: int | None = None

    def __init__(self, message: str, details: tuple[Detail, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(HubError):
    """A field is missing, unknown, of the wrong kind or outside of what is allowed; `details` names it and says what is
    allowed. A batch is checked as a whole: one bad event, and none is appended. Data nested over 64 levels is refused
    too.
    """

    code = "VALIDATION_FAILED"
    title = "the content breaks a rule"
    mend = "correct the field that `details` names"
    status = 400
    close_code = 4000

    @classmethod
    def field(cls, field: str, message: str) -> "Invalid":
        return cls(f"{field}: {message}", (Detail(field, message),))


class InvalidJson(Invalid):
    """The body is not JSON (RFC 8259): cut off, something behind its end, `NaN`, a raw control character, an unpaired
    surrogate such as `"\\ud800"`, a byte order mark, or bytes that are not UTF-8. The message says at which byte.
    """

    code = "INVALID_JSON"
    title = "the body is not JSON in UTF-8"
    mend = "correct the serializer"


class InvalidCursor(Invalid):
    """Cursors are opaque: pass one back exactly as an event or an answer carried it. One that was cut, changed or made
    elsewhere is refused. Start without a cursor to begin at now. A cursor that is merely old is no error: a live
    subscription answers it with a gap.
    """

    code = "INVALID_CURSOR"
    title = "the cursor is not one of this hub's"
    mend = "pass cursors back unchanged, or start without one"


class EndpointUrlForbidden(Invalid):
    """The endpoint's URL has a scheme that is not allowed, names an internal address, spells an address oddly, or has
    the port of another service; the message says which. Where the hub is meant to call plain http or an internal
    network, its operator sets `HUB_WEBHOOK_ALLOW_HTTP` or `HUB_WEBHOOK_ALLOW_NETWORKS`; `hub dev` does for loopback.
    """

    code = "ENDPOINT_URL_FORBIDDEN"
    title = "the webhook URL may not be called"
    mend = "use https, a public address, and a usual port"


class VersionUnknown(Invalid):
    """The API has versions, chosen by the path (`/v1/…`), the header `API-Version` or `?version=`. This one does not
    exist, or two of the three name different ones; the message lists those that exist.
    """

    code = "VERSION_UNKNOWN"
    title = "the API has no such version"
    mend = "name a version that the message lists, in one place"


class NotHttp(HubError):
    """What came on the connection is no request of HTTP/1.1 (RFC 9112), or no handshake of a WebSocket (RFC 6455): TLS
    on a port without it, HTTP/2 without a negotiation, a broken request line, header or chunk, no `Host` or several,
    `Content-Length` beside `Transfer-Encoding`. Nothing of it was carried out, and the connection is closed.
    """

    code = "NOT_HTTP"
    title = "the bytes are not a request of HTTP/1.1"
    mend = "look at the scheme, the port and what is in between"
    status = 400
    close_code = 4000


class Unauthenticated(HubError):
    """There was no credential, or it is unknown, revoked, expired or not valid; the message says which. Get a new one;
    the same will fail again. A WebSocket is closed with 4001, also when no `authenticate` came in time.
    """

    code = "UNAUTHENTICATED"
    title = "no credential, or one that is not valid"
    mend = "get a new credential"
    status = 401
    close_code = 4001


class Forbidden(HubError):
    """The credential is good, but lacks the scope that the message names, or its token grants no pattern that covers
    the topic. A wildcard never covers topics that begin with `@` or `hub`: a token for `**` may not receive
    `@user.bob`.
    """

    code = "FORBIDDEN"
    title = "the credential doesn't allow this"
    mend = "use one with the scope or pattern that the message names"
    status = 403
    close_code = 4003


class NotFound(HubError):
    """No such path, or nothing with this id in this app. Events go when their retention ends."""

    code = "NOT_FOUND"
    title = "there is no such thing, or no longer"
    mend = "check the path and the id"
    status = 404
    close_code = 4000


class MethodNotAllowed(HubError):
    """The path knows other methods; the `Allow` header lists them."""

    code = "METHOD_NOT_ALLOWED"
    title = "the path exists, the method doesn't"
    mend = "use a method of the `Allow` header"
    status = 405
    close_code = 4000


class NotAcceptable(HubError):
    """`Accept` excludes the only form in which this can be answered: a stream is `text/event-stream`."""

    code = "NOT_ACCEPTABLE"
    title = "the answer's form is not one that `Accept` names"
    mend = "send a fitting `Accept`"
    status = 406
    close_code = 4000


class RequestLate(HubError):
    """A request must come soon: its headers within 10 seconds from the connect or its first byte, its body within 60,
    with no pause of 10. Nothing was carried out, and the connection is closed. Send it again on a new one.
    """

    code = "REQUEST_TIMEOUT"
    title = "the request didn't come in time"
    mend = "send it again, in one go"
    status = 408
    close_code = 4000

    @classmethod
    def of(cls, awaited: str) -> "RequestLate":
        """`awaited` is the `head` or the `body`."""
        return cls(f"The {'headers' if awaited == 'head' else 'body'} didn't come in time")


class Conflict(HubError):
    """The request is right in itself, but not now: somebody else changed the same thing meanwhile, or what it needs is
    not so. Read the state again and decide anew.
    """

    code = "CONFLICT"
    title = "the state of things forbids it"
    mend = "read the state again, then decide"
    status = 409
    close_code = 4000


class RequestInProgress(HubError):
    """Somebody, perhaps you before a timeout, sent this request with the same `Idempotency-Key`, and it isn't done yet.
    Repeat it after `Retry-After` for its answer ([idempotency.md](idempotency.md)).
    """

    code = "REQUEST_IN_PROGRESS"
    title = "the first request with this `Idempotency-Key` still runs"
    mend = "retry after `Retry-After`"
    status = 409
    close_code = 4000

    @classmethod
    def until(cls, retry_after: int) -> "RequestInProgress":
        error = cls("The first request with this Idempotency-Key still runs; try again for its answer")
        error.retry_after = max(1, retry_after)
        return error


class IdempotencyKeyReused(HubError):
    """An `Idempotency-Key` stands for one request: its method, path, query and body, byte for byte. This one came
    before with another; nothing was done. Make a new key for each request, and keep the body as it was when you repeat
    one.
    """

    code = "IDEMPOTENCY_KEY_REUSED"
    title = "the `Idempotency-Key` came before with another request"
    mend = "take a new key for each request"
    status = 422
    close_code = 4000

    @classmethod
    def now(cls) -> "IdempotencyKeyReused":
        return cls("The Idempotency-Key came before with another request; take a new key for each")


class PayloadExpired(HubError):
    """A delivery can be sent again while its event's bytes are kept. These are gone; the record of its attempts stays
    as long as attempts do. Publish the event again if it still matters.
    """

    code = "PAYLOAD_EXPIRED"
    title = "the delivery's event is no longer kept"
    mend = "publish the event again"
    status = 410
    close_code = 4000


class VersionGone(HubError):
    """This version of the API was retired and has reached its end. Before that its answers said so for months by
    `Deprecation` (RFC 9745) and `Sunset` (RFC 8594). The `Link` header leads on.
    """

    code = "VERSION_GONE"
    title = "this version of the API has ended"
    mend = "move to the version that the message names"
    status = 410
    close_code = 4000


class PreconditionFailed(HubError):
    """`If-Match` names another state than the present one: somebody changed it since it was read. Nothing was done.
    Read it again, apply the change to what is there now, and send its `ETag`.
    """

    code = "PRECONDITION_FAILED"
    title = "it was changed since it was read"
    mend = "read it again, then change what is there now"
    status = 412
    close_code = 4000


class PayloadTooLarge(HubError):
    """An event may have 256 KiB (`HUB_MAX_EVENT_BYTES`), a batch 1000 events and 4 MiB. The message has the size and
    the limit. Put big things where they can be fetched, and publish the link.
    """

    code = "PAYLOAD_TOO_LARGE"
    title = "the body, the batch or an event is too big"
    mend = "send less, or a link to it"
    status = 413
    close_code = 1009


class UnsupportedMediaType(HubError):
    """The `Content-Type` is not one that this path reads; the message says which it does."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    title = "the `Content-Type` is not understood"
    mend = "send `application/json`, or CloudEvents"
    status = 415
    close_code = 4000


class UpgradeRequired(HubError):
    """The path is a WebSocket's, and the request is none: it lacks `Upgrade: websocket` (RFC 6455, section 4.1). Use a
    WebSocket client; over plain HTTP the same events come by `GET /v1/stream` or `GET /v1/poll`.
    """

    code = "UPGRADE_REQUIRED"
    title = "the path is a WebSocket's"
    mend = "open a WebSocket, or use `GET /v1/stream`"
    status = 426
    close_code = 4000


class HeadersTooLarge(HubError):
    """The request line and the headers together may have 64 KiB; a WebSocket's handshake 128 lines of 8 KiB. Mostly it
    is a cookie or a token that has grown. The connection is closed.
    """

    code = "HEADERS_TOO_LARGE"
    title = "the request's headers are too big"
    mend = "send fewer or shorter headers"
    status = 431
    close_code = 4000


class RateLimited(HubError):
    """A rate limit of the app's plan is used up, which `details` names ([limits.md](limits.md)); `Retry-After` says
    when there is room again. Or the app has all the live connections that it may have (`HUB_MAX_CONNECTIONS_PER_APP`).
    A WebSocket whose client sends more frames than `HUB_WS_MESSAGE_RATE` allows is closed with 4029 too. Come back
    later.
    """

    code = "RATE_LIMITED"
    title = "more than is allowed, now"
    mend = "retry after `Retry-After`, with growing pauses"
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
    """The hub runs without a setting that this request needs, such as `HUB_SECRET_KEY` for signing secrets. Waiting
    doesn't help; the operator sets the variable that the message names.
    """

    code = "NOT_CONFIGURED"
    title = "the deployment lacks a setting"
    mend = "set the variable that the message names"
    status = 501


class KeysUnavailable(HubError):
    """The token says that it is from an issuer whose keys the hub fetches (`HUB_JWT_JWKS_URL`, or an app's `jwks_url`),
    and they could not be fetched: the message says why. Once they were, the hub goes on with them for a day. API keys
    and tokens of other keys work all the while. The operator looks whether the URL answers.
    """

    code = "KEYS_UNAVAILABLE"
    title = "the keys of the token's issuer can't be fetched"
    mend = "retry after `Retry-After`"
    status = 503
    close_code = 1013
    retry_after = 10


class StoreUnavailable(HubError):
    """Redis or Valkey can't be reached, is failing over, or did not confirm the durability in time. What was asked may
    or may not have happened. Retry after `Retry-After`; live connections stay open and go on when the store is back.
    """

    code = "STORE_UNAVAILABLE"
    title = "the store doesn't answer"
    mend = "retry after `Retry-After`"
    status = 503
    close_code = 1013
    retry_after = 1


class Overloaded(HubError):
    """More comes than this web process can serve, so it refuses what would only wait ([limits.md](limits.md)). Nothing
    of the request was carried out. Retry after `Retry-After`, which differs from answer to answer, so that not all come
    back at once. Live connections and deliveries go on. The operator adds web processes, or limits who asks so much.
    """

    code = "OVERLOADED"
    title = "more requests come than can be served"
    mend = "retry after `Retry-After`, with growing pauses"
    status = 503
    close_code = 1013
    retry_after = 1

    @classmethod
    def now(cls, retry_after: int = 1) -> "Overloaded":
        """What every refused request is told."""
        error = cls("This process has more requests than it can serve; nothing of this one was carried out")
        error.retry_after = retry_after
        return error


class LogFull(HubError):
    """The store or the log (`HUB_LOG_MAX_BYTES`) is nearly full, so that nothing more is accepted, while what was
    accepted goes on being delivered. Retry after `Retry-After`. The operator gives the store more room, shortens
    `HUB_RETENTION`, or finds the endpoint that holds up the deliveries.
    """

    code = "LOG_FULL"
    title = "the log is at its limit"
    mend = "retry after `Retry-After`; free room"
    status = 503
    close_code = 1013
    retry_after = 10
