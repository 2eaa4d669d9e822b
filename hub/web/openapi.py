"""The OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.1), made from the declared operations."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from hub import VERSION
from hub.core.errors import (
    Forbidden,
    HeadersTooLarge,
    HubError,
    Invalid,
    InvalidJson,
    KeysUnavailable,
    MethodNotAllowed,
    NotAcceptable,
    NotHttp,
    Overloaded,
    PayloadTooLarge,
    PreconditionFailed,
    RateLimited,
    RequestLate,
    StoreUnavailable,
    Unauthenticated,
    UnsupportedMediaType,
    VersionGone,
    VersionUnknown,
)
from hub.web import examples
from hub.web.accept import JSON, PROBLEM
from hub.web.auth import OPEN
from hub.web.document_parts import HEADERS, PARAMETERS, SECURITY, SentEvent, webhooks
from hub.web.error_pages import all_errors
from hub.web.http import ErrorBody, Problem
from hub.web.limiting import UNLIMITED
from hub.web.operation import KEYED_ERRORS, Operation

Json: TypeAlias = dict[str, Any]
FORM: Final = "application/x-www-form-urlencoded"
REF: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (
    Invalid, VersionUnknown, RateLimited, NotAcceptable, VersionGone, HubError, StoreUnavailable, Overloaded,
)  # fmt: skip
_UNASKED: Final = (HeadersTooLarge, MethodNotAllowed, NotHttp, RequestLate)
"""What is answered before any operation, whatever the path."""
_LIMITS: Final = (
    "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
)  # fmt: skip
_VERSION: Final = ("API-Version", "Deprecation", "Sunset", "Link")
_PLACEHOLDER: Final = re.compile(r"{([a-z_]+)(?::[a-z]+)?}")
_SMALL: Final = {"a", "an", "the", "is", "can", "of", "what", "who", "to", "s", "in", "for", "by", "it"}


class Meta(msgspec.Struct, frozen=True):
    """Of an answer: its id, as in `X-Request-ID`, and when it was made."""

    request_id: str
    timestamp: str


class Pagination(msgspec.Struct, frozen=True):
    """Where a list goes on, and back. A cursor is null at that end."""

    next_cursor: str | None
    prev_cursor: str | None
    limit: int
    has_more: bool


def document(operations: Sequence[Operation]) -> Json:
    """The whole document, as JSON values."""
    made = _document(operations)
    return msgspec.json.decode(msgspec.json.encode(made))  # defaults that are tuples become arrays


def _document(operations: Sequence[Operation]) -> Json:
    types = _Types(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        path = _PLACEHOLDER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, operations, types)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Hub",
            "version": VERSION,
            "summary": "Publish once; deliver over WebSocket, server-sent events and signed webhooks from one log.",
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/", "description": "This hub"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, operations))],
        "paths": paths,
        "webhooks": webhooks(types.of),
        "components": {
            "schemas": {**types.schemas, "ErrorCode": _codes()},
            "securitySchemes": SECURITY,
            "responses": _failures(operations),
            "headers": HEADERS,
            "parameters": PARAMETERS,
        },
    }


def operation_id(operation: Operation) -> str:
    """The summary's words, which is what generated clients call it."""
    words = re.findall(r"[a-z]+", operation.summary.lower())
    first, *rest = [word for word in words if word not in _SMALL]
    return first + "".join(word.capitalize() for word in rest)


class _Types:
    """The schemas of every type that an operation names."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._known: list[Any] = [Meta, Pagination, ErrorBody, Problem, SentEvent]
        for operation in operations:
            for shape in (operation.answer, operation.body and operation.body.documented):
                if shape is not None and shape not in self._known:
                    self._known.append(shape)
        made, self.schemas = msgspec.json.schema_components(self._known, ref_template=REF)
        self._made = list(made)

    def of(self, shape: Any) -> Json:
        return self._made[self._known.index(shape)]


def _operation(operation: Operation, operations: Sequence[Operation], types: _Types) -> Json:
    made: Json = {
        "operationId": operation_id(operation),
        "tags": [_tag(operation)],
        "summary": operation.summary,
        "description": _text(operation),
        "parameters": _parameters(operation),
        "responses": _responses(operation, operations, types),
        "security": _security(operation),
    }
    if operation.body is not None:
        made["requestBody"] = _body(operation, types)
    return made


def _text(operation: Operation) -> str:
    told = " ".join((operation.handler.__doc__ or "").split())
    return f"{told}\n\nCredential: {operation.access.rule}." if operation.access.rule else told


def _parameters(operation: Operation) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PLACEHOLDER.findall(operation.path)
    ]
    for param in operation.query:
        one: Json = {"name": param.name, "in": "query", "description": param.description, "schema": param.schema}
        found.append({**one, "style": "form", "explode": True} if param.many else one)
    names = ["X-Request-ID", *(["API-Version"] if operation.path.startswith("/v") else [])]
    names += ["Idempotency-Key"] if operation.keyed else []
    names += ["If-None-Match"] if operation.is_read else []
    names += ["If-Match"] if operation.conditional else []
    names += ["Last-Event-ID"] if operation.media == "text/event-stream" else []
    return [*found, *({"$ref": f"#/components/parameters/{name}"} for name in names)]


def _security(operation: Operation) -> list[Json]:
    access = operation.access
    if access is OPEN:
        return []
    if access.scheme != "bearer":
        return [{access.scheme: []}]
    return [{"bearer": []}, *([{"token": []}, {"ticket": []}] if access.in_url else [])]


def _body(operation: Operation, types: _Types) -> Json:
    body = operation.body
    assert body is not None
    if body.form is not None:
        return {"required": True, "content": {FORM: {"schema": body.form, "example": body.example}}}
    content: Json = {}
    for media in body.media or (JSON,):
        content[media] = {"schema": types.of(body.documented)} if body.documented is not None else {}
        if body.example is not None:
            content[media]["example"] = body.example
    content.update(body.also)
    return {"required": body.required, "content": content}


def _responses(operation: Operation, operations: Sequence[Operation], types: _Types) -> Json:
    found: Json = {str(operation.status): _success(operation, operations, types)}
    if operation.is_read:
        kept = _headers(*_carried(operation), "ETag")
        found["304"] = {"description": "Not changed since the ETag that was sent.", "headers": kept}
    for status, errors in sorted(by_status(operation).items()):
        found[str(status)] = {"$ref": f"#/components/responses/{_name(errors)}"}
    found.update(operation.more_answers)
    return found


def by_status(operation: Operation) -> dict[int, list[type[HubError]]]:
    """The errors that the operation can answer, by HTTP status."""
    found: dict[int, list[type[HubError]]] = {}
    for error in sorted(errors_of(operation), key=lambda error: error.code):
        found.setdefault(error.status, []).append(error)
    return found


def errors_of(operation: Operation) -> list[type[HubError]]:
    """Every error that the operation can answer, of its own and of the stages."""
    found: list[type[HubError]] = [*operation.errors]
    if operation.path.startswith("/v"):
        found += _ALWAYS
        if operation.access is not OPEN:
            found += (Unauthenticated, Forbidden, KeysUnavailable)
    else:
        found += (Invalid, NotAcceptable, RateLimited, HubError)
    if operation.body is not None:
        found += (Invalid, InvalidJson, PayloadTooLarge, UnsupportedMediaType)
    if operation.conditional:
        found.append(PreconditionFailed)
    if operation.keyed:
        found += KEYED_ERRORS
    return list(dict.fromkeys(found))


def _success(operation: Operation, operations: Sequence[Operation], types: _Types) -> Json:
    names = [*_carried(operation), *(["ETag"] if operation.is_read else [])]
    names += ["Idempotency-Replay"] if operation.keyed else []
    made: Json = {"description": operation.summary + ".", "headers": _headers(*names)}
    if operation.media is not None:
        plain = {"type": "object" if operation.media == JSON else "string"}
        schema = plain if operation.answer is None else types.of(operation.answer)
        made["content"] = {operation.media: {"schema": schema, **_shown(operation)}}
    elif operation.answer is not None:
        schema = _envelope(operation, types)
        example = examples.envelope(operation.answer, schema["required"], is_list=operation.is_list)
        made["content"] = {JSON: {"schema": schema, "example": example}}
        made["links"] = dict(_links(operation, operations))
    return made


def _carried(operation: Operation) -> tuple[str, ...]:
    """The headers of whatever the operation answers."""
    version = _VERSION if operation.path.startswith("/v") else ()
    return ("X-Request-ID", *version, *(() if operation.path in UNLIMITED else _LIMITS))


def _shown(operation: Operation) -> Json:
    """The example of an answer that goes out as it is, but of a page or a document."""
    if operation.media == "text/event-stream":
        return {"example": examples.STREAM}
    if operation.answer is str:
        return {"example": examples.METRICS}
    return {} if operation.answer is None else {"example": examples.data_of(operation.answer)}


def _envelope(operation: Operation, types: _Types) -> Json:
    data = types.of(operation.answer)
    properties: Json = {
        "success": {"const": True},
        "data": {"type": "array", "items": data} if operation.is_list else data,
    }
    if operation.is_list:
        properties["pagination"] = types.of(Pagination)
    properties["meta"] = types.of(Meta)
    return {"type": "object", "required": list(properties), "properties": properties}


def _links(operation: Operation, operations: Sequence[Operation]) -> Iterable[tuple[str, Json]]:
    """From what was made to all that is done with it: the operations on paths below `{id}`."""
    if operation.method != "POST" or operation.status not in (201, 202) or "{" in operation.path:
        return
    below = re.compile(re.escape(operation.path) + r"/{id(?::path)?}(?:/[a-z/-]+)?")
    for other in operations:
        if below.fullmatch(other.path):
            name = operation_id(other)
            yield name, {"operationId": name, "parameters": {"id": "$response.body#/data/id"}}


def _failures(operations: Sequence[Operation]) -> Json:
    """Every set of errors of one status that some operation can answer, and what is answered before any."""
    found: Json = {error.code: _failure([error]) for error in _UNASKED}
    for operation in operations:
        for errors in by_status(operation).values():
            found[_name(errors)] = _failure(errors)
    return found


def _name(errors: list[type[HubError]]) -> str:
    return ".".join(error.code for error in errors)


def _failure(errors: list[type[HubError]]) -> Json:
    status, waits = errors[0].status, errors[0].retry_after is not None
    names = ["X-Request-ID", *(["Retry-After"] if waits else []), *(["WWW-Authenticate"] if status == 401 else [])]
    names += ["Allow"] if status == 405 else []
    names += [] if errors[0] in _UNASKED else [*_VERSION, *_LIMITS]
    codes = [error.code for error in errors]
    return {
        "description": "\n".join(
            f"- [`{one.code}`](/docs/errors/{one.code}): {one.title}; {one.mend}" for one in errors
        ),
        "headers": _headers(*names),
        "content": {
            JSON: {
                "schema": _error_envelope(codes),
                "examples": {one.code: {"value": examples.failure(one)} for one in errors},
            },
            PROBLEM: {
                "schema": {"$ref": REF.format(name="Problem")},
                "examples": {one.code: {"value": examples.problem(one)} for one in errors},
            },
        },
    }


def _error_envelope(codes: list[str]) -> Json:
    error = {"allOf": [{"$ref": REF.format(name="ErrorBody")}, {"properties": {"code": {"enum": codes}}}]}
    properties: Json = {"success": {"const": False}, "error": error, "meta": {"$ref": REF.format(name="Meta")}}
    return {"type": "object", "required": list(properties), "properties": properties}


def _codes() -> Json:
    found = sorted(all_errors(), key=lambda one: one.code)
    told = "\n".join(f"- `{one.code}` ({one.status}): {one.title}" for one in found)
    return {"type": "string", "enum": [one.code for one in found], "description": told}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _tag(operation: Operation) -> str:
    first, *rest = operation.path.strip("/").split("/")
    name = rest[0] if first == "v1" else first.partition(".")[0]
    return {"stream": "live", "poll": "live", "ws": "live", "openapi": "docs", "asyncapi": "docs"}.get(name, name)


_DESCRIPTION: Final = """\
Publish an event once over HTTP; browsers get it over WebSocket rooms and server-sent events, partners as a signed
webhook. All of them read one durable log, and one cursor resumes each.

The messages of WebSocket and server-sent events are described by [/asyncapi.json](/asyncapi.json). Every error has
[a page of its own](/docs/errors). Within a version fields and routes are added, never renamed or taken away.
"""
