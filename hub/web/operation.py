"""What the HTTP API consists of: declared operations, and the one way that every request goes through them.

A request passes authenticate → limit → read → idempotency → decode → handler → encode. Each stage is here and nowhere
else, so a handler holds only what its operation is about, and the documents are made from the same declarations.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.core.claims import ALL_APPS, Principal
from hub.core.decoding import from_msgspec
from hub.core.errors import (
    HubError,
    IdempotencyKeyReused,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    Overloaded,
    PreconditionFailed,
    RequestInProgress,
    Unauthenticated,
)
from hub.core.event import check_text
from hub.core.seed import Seed
from hub.store.requests import Claim
from hub.web.accept import JSON, PROBLEM, choose
from hub.web.auth import Credential
from hub.web.context import Context, context
from hub.web.door import LONGEST_WAIT, REFUSED
from hub.web.http import MAX_BODY, Page, broken, encode, failed, ok, read_body
from hub.web.incoming import Incoming
from hub.web.query import Param, check_query, text
from hub.web.representation import Tree, compress, etag, is_long, matches, parse_fields, represent

B = TypeVar("B")
FIELDS: Final = text("fields", "Only these fields of the data, comma-separated: `id,data.amount`.")
"""A parameter of every read."""
KEYED: Final = frozenset({"POST", "PATCH"})
"""Methods whose operations take an Idempotency-Key."""
KEY: Final = "idempotency-key"
KEYED_ERRORS: Final = (IdempotencyKeyReused, RequestInProgress)
"""What those can raise for it."""


class Body(Generic[B]):
    """What a request's body may be: a msgspec type in JSON, or what `parse` makes of the bytes.

    `media` lists the types that are accepted; None leaves that to `parse`. `limit` is in bytes. For the documents,
    `documented` is the type where `shape` isn't what is sent, `example` a body that works, and `also` has other media,
    and `form` is the JSON Schema of a form, which then is the only one.
    """

    __slots__ = ("_decode", "also", "documented", "example", "form", "limit", "media", "parse", "shape")

    def __init__(
        self,
        shape: type[B],
        *,
        media: tuple[str, ...] | None = (JSON,),
        limit: int = MAX_BODY,
        parse: Callable[[Request, bytes], B] | None = None,
        documented: Any = None,
        example: Any = None,
        also: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
    ) -> None:
        self.shape = shape
        self.documented = shape if parse is None else documented
        self.example = example
        self.also = also or {}
        self.form = form
        self.media = media
        self.limit = limit
        self.parse = parse
        self._decode = msgspec.json.Decoder(shape).decode

    @property
    def required(self) -> bool:
        """Whether an empty body can't be one."""
        if self.parse is not None or not issubclass(self.shape, msgspec.Struct):
            return True
        return any(field.required for field in msgspec.structs.fields(self.shape))

    async def read(self, request: Request) -> bytes:
        """The body's bytes. Raises UnsupportedMediaType, PayloadTooLarge."""
        return await read_body(request, self.limit, self.media)

    def decode(self, request: Request, raw: bytes) -> B:
        """The body, or Invalid naming the field. An empty body is an empty object."""
        if self.parse is not None:
            return self.parse(request, raw)
        check_text(raw)
        try:
            return self._decode(raw or b"{}")
        except msgspec.MsgspecError as exc:
            raise from_msgspec(exc) from None
        except RecursionError:
            raise Invalid.field("body", "is nested too deep") from None


class Call(Generic[B]):
    """One request on its way: what the stages found out, and what a handler works with.

    `headers` go out with whatever is answered, an error included. `raw` is the body as it came, `body` the decoded one.
    `caller` is None where the operation is open to all. `claim` is there with an Idempotency-Key; `seed` then draws the
    same in a retry.
    """

    __slots__ = ("body", "caller", "claim", "headers", "operation", "raw", "request", "resources", "seed")

    body: B

    def __init__(self, operation: "Operation", request: Request) -> None:
        self.operation = operation
        self.request = request
        self.resources: Context = context(request)
        self.caller: Principal | None = None
        self.claim: Claim | None = None
        self.seed: Seed | None = None
        self.raw = b""
        self.headers: dict[str, str] = {}

    @property
    def principal(self) -> Principal:
        assert self.caller is not None, "an open operation has no principal"
        return self.caller

    @property
    def app(self) -> str:
        return self.principal.app

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.path_params[name]

    def check_match(self, current: Any) -> None:
        """Raise PreconditionFailed unless `If-Match`, where it was sent, names this state (RFC 9110, 13.1.1).

        None is the state of what isn't there, which nothing names.
        """
        header = self.request.headers.get("if-match")
        if header is not None and (current is None or not matches(header, etag(encode(current)))):
            raise PreconditionFailed("If-Match names another state; read it again, and send the ETag of that answer")


class Answer(msgspec.Struct, frozen=True):
    """Data with another status than the operation's, or with headers."""

    data: Any
    status: int | None = None
    headers: dict[str, str] = {}


Handler: TypeAlias = Callable[[Call[Any]], Awaitable[Any]]
"""Returns the data; a Page for a list; an Answer; None where the status has no body; or a whole Response."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `handler`'s docstring is the description.

    `answer` is the type of `data` (of an item where `is_list`), None where there is no body; `media` is set where the
    answer isn't the JSON envelope, and then goes out as it is. `errors` are those beyond what `access`, `body` and the
    stages can raise. `keyed` says whether an Idempotency-Key counts: on every POST and PATCH, unless said otherwise.
    One that isn't `recorded` knows a repeated request itself. `conditional` says that the handler checks `If-Match`.
    `more_answers` is for the documents: OpenAPI's responses by status.
    `audited` is what changes what an operator set up, or shows a secret of it.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    access: Credential
    body: Body[Any] | None = None
    query: tuple[Param[Any], ...] = ()
    answer: Any = None
    status: int = 200
    is_list: bool = False
    media: str | None = None
    errors: tuple[type[HubError], ...] = ()
    keyed: bool | None = None
    conditional: bool = False
    recorded: bool = True
    more_answers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    audited: bool = field(init=False)
    is_read: bool = field(init=False)
    """Whether it answers data that has an ETag, and of which fields can be chosen."""
    known: frozenset[str] = field(init=False)
    offers: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        is_read = self.method == "GET" and self.media is None and self.answer is not None
        object.__setattr__(self, "is_read", is_read)
        if is_read:
            object.__setattr__(self, "query", (*self.query, FIELDS))
        changes = self.method not in ("GET", "HEAD") and self.access.scope in ("admin", ALL_APPS)
        object.__setattr__(self, "audited", changes or self.access.scope == "endpoints:write")
        if self.keyed is None:
            object.__setattr__(self, "keyed", self.method in KEYED)
        object.__setattr__(self, "known", frozenset(param.name for param in self.query))
        object.__setattr__(self, "offers", (JSON, PROBLEM) if self.media is None else (self.media,))

    def check_accept(self, accept: str) -> None:
        """Raise NotAcceptable unless the client takes what this answers."""
        if choose(accept, self.offers) is None:
            raise NotAcceptable(f"This is answered as {self.offers[0]}; send Accept: {self.offers[0]}")

    def encode(self, call: Call[Any], result: Any) -> Response:
        """A handler's result as the answer."""
        if isinstance(result, Response):
            return result
        status = self.status
        if isinstance(result, Answer):
            call.headers.update(result.headers)
            status, result = result.status or status, result.data
        if result is None:
            return Response(status_code=status)
        if not self.is_read:
            return ok(call.request, result, status)
        fields = self._chosen(call.request)
        if isinstance(result, Page):
            return represent(call.request, result.items, result.pagination(), fields)
        return represent(call.request, result, None, fields)

    def _chosen(self, request: Request) -> Tree | None:
        given = FIELDS.of(request) if request.scope["query_string"] else None
        if given is None:
            return None
        tree, known = parse_fields(given, FIELDS.name), {one.name for one in msgspec.structs.fields(self.answer)}
        for name in tree.keys() - known:
            raise Invalid.field(FIELDS.name, f"{name[:40]!r} is not a field here; allowed: {', '.join(sorted(known))}")
        return tree


Limit: TypeAlias = Callable[[Call[Any]], Awaitable[None]]
"""Raises RateLimited, or lets the call go on; either way it may set the call's headers."""
Proceed: TypeAlias = Callable[[Call[Any]], Awaitable[Response]]
Idempotency: TypeAlias = Callable[[Call[Any], Proceed], Awaitable[Response]]
"""Answers a keyed operation: from what it stored, or by proceeding once. `call.raw` is there, `call.body` not yet."""


Audit: TypeAlias = Callable[[Call[Any], Response, HubError | None], Awaitable[None]]
"""Keeps what an audited operation did: its answer, and the error that this tells of."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages that a deployment fills in; without one the request just goes on."""

    limit: Limit | None = None
    idempotency: Idempotency | None = None
    audit: Audit | None = None

    async def answer(self, call: Call[Any]) -> Response:
        """The answer to a request, whatever came of it."""
        fault: HubError | None = None
        try:
            response = await self.run(call)
        except HubError as exc:
            response, fault = failed(call.request, exc), exc
        except Exception as exc:
            response = broken(call.request, exc)
        if self.audit is not None and call.operation.audited:
            await self.audit(call, response, fault)
        return response

    async def run(self, call: Call[Any]) -> Response:
        """Take a request through all stages. Raises what they raise."""
        operation, request = call.operation, call.request
        if REFUSED in request.scope["state"]:
            raise Overloaded.now(random.randint(1, LONGEST_WAIT))
        try:
            call.caller = await operation.access.check(request)
        except Unauthenticated:
            if self.limit is not None:  # else guessing would be free
                await self.limit(call)
            raise
        if self.limit is not None:
            await self.limit(call)
        if accept := request.headers.get("accept"):
            operation.check_accept(accept)
        if request.scope["query_string"]:
            check_query(request, operation.known)
        if operation.body is not None:
            call.raw = await operation.body.read(request)
        if self.idempotency is not None and operation.keyed and KEY in request.headers:
            return await self.idempotency(call, proceed)
        return await proceed(call)


async def proceed(call: Call[Any]) -> Response:
    """The stages that do the work: decode, handler, encode."""
    operation = call.operation
    if operation.body is not None:
        call.body = operation.body.decode(call.request, call.raw)
    return operation.encode(call, await operation.handler(call))


class Resource:
    """All operations on one path, as an ASGI application: it picks by method and knows what is allowed."""

    def __init__(self, operations: Sequence[Operation], stages: Stages) -> None:
        self.operations = {operation.method: operation for operation in operations}
        if "GET" in self.operations:
            self.operations.setdefault("HEAD", self.operations["GET"])
        self.allow = ", ".join(sorted({*self.operations, "OPTIONS"}))
        self._stages = stages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.respond(Incoming(scope, receive, send))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The answer to a request, whatever comes of it; it is yet to be sent."""
        method = request.method
        operation = self.operations.get(method)
        if operation is None:
            if method == "OPTIONS":
                return Response(status_code=204, headers={"allow": self.allow})
            refusal = MethodNotAllowed(f"{method[:40]} is not allowed here; allowed: {self.allow}")
            response = failed(request, refusal)
            response.headers["allow"] = self.allow
            return response
        request.scope["operation"] = operation
        call: Call[Any] = Call(operation, request)
        response = await self._stages.answer(call)
        if call.headers:
            response.headers.update(call.headers)
        if is_long(response):
            await compress(request, response)
        return response


def resources_by_path(operations: Iterable[Operation], stages: Stages) -> dict[str, Resource]:
    """One resource for each path, in the order of their first operations."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return {path: Resource(found, stages) for path, found in by_path.items()}
