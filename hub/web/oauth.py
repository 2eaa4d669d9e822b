"""OAuth 2 for machines: `POST /v1/oauth/token` (RFC 6749, client credentials and refresh) and `/revoke` (RFC 7009).

A client is an API key: its id is the client's id, its text the client's secret. Requests are forms and answers plain
objects, as the RFCs have them, so that their libraries work here.
"""

import base64
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.errors import Forbidden, Invalid, Unauthenticated
from hub.store.api_keys import ApiKey
from hub.store.grants import Issued
from hub.web.accept import JSON, PROBLEM
from hub.web.auth import CLIENT
from hub.web.examples import problem
from hub.web.http import content_type
from hub.web.operation import Body, Call, Operation

FORM: Final = "application/x-www-form-urlencoded"
_HEADERS: Final = {"cache-control": "no-store", "pragma": "no-cache"}
_MOST_FIELDS: Final = 20
_FIELDS: Final = ("grant_type", "scope", "refresh_token", "token", "client_id", "client_secret")


class AccessToken(msgspec.Struct, frozen=True):
    """RFC 6749, section 5.1."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    scope: str


class OAuthError(Exception):
    """A refusal (RFC 6749, section 5.2): its code, and why in words."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


async def token(call: Call[bytes]) -> Response:
    """A form: `grant_type=client_credentials` with a `scope` or all that the key has, or `grant_type=refresh_token`
    with the `refresh_token`. The client authenticates by HTTP Basic, or `client_id` and `client_secret` in the form."""
    try:
        form = _form(call.request, call.body)
        issued = await _issue(call, form, await _client(call, form))
    except OAuthError as exc:
        return _refused(exc)
    body = AccessToken(
        issued.access_token, "Bearer", issued.expires_in, issued.refresh_token, " ".join(sorted(issued.scopes))
    )
    return JSONResponse(msgspec.to_builtins(body), headers=_HEADERS)


async def revoke(call: Call[bytes]) -> Response:
    """A form with the `token`, an access or a refresh token of this client: both end. One that is unknown is no error.
    The client authenticates as for a token."""
    try:
        form = _form(call.request, call.body)
        client = await _client(call, form)
        await call.resources.grants.revoke(client, _field(form, "token"))
    except OAuthError as exc:
        return _refused(exc)
    return Response(headers=_HEADERS)


async def _issue(call: Call[bytes], form: dict[str, str], client: ApiKey) -> Issued:
    grants, scopes, kind = call.resources.grants, _scopes(form), _field(form, "grant_type")
    if kind == "client_credentials":
        allowed = client.all_scopes
        if scopes is not None and not allowed.issuperset(scopes):
            raise OAuthError("invalid_scope", f"the client has the scopes {' '.join(sorted(allowed))}")
        return await grants.issue(client, tuple(sorted(allowed)) if scopes is None else scopes)
    if kind == "refresh_token":
        issued = await grants.refresh(client, _field(form, "refresh_token"), scopes)
        if issued is None:
            raise OAuthError("invalid_grant", "the refresh token is not known, was used, or has a narrower scope")
        return issued
    raise OAuthError("unsupported_grant_type", "use client_credentials or refresh_token")


async def _client(call: Call[bytes], form: dict[str, str]) -> ApiKey:
    """Who asks, by one of the two ways (RFC 6749, section 2.3.1)."""
    header = call.request.headers.get("authorization")
    if header is None:
        key_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    elif "client_secret" in form:
        raise OAuthError("invalid_request", "authenticate by the header or by the form, not by both")
    else:
        key_id, secret = _basic(header)
    if not key_id or not secret:
        raise OAuthError("invalid_client", "send the id of an API key as client_id and its text as client_secret")
    try:
        return await call.resources.access.client(key_id, secret)
    except Unauthenticated as exc:
        raise OAuthError("invalid_client", exc.message) from None
    except Forbidden as exc:
        raise OAuthError("unauthorized_client", exc.message) from None


def _basic(header: str) -> tuple[str, str]:
    kind, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        text = ""
    key_id, colon, secret = text.partition(":")
    if kind.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "the Authorization header must be Basic, with the client's id and secret")
    return unquote_plus(key_id), unquote_plus(secret)


def _form(request: Request, raw: bytes) -> dict[str, str]:
    if content_type(request) != FORM:
        raise OAuthError("invalid_request", f"the body must be a form ({FORM})")
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise OAuthError("invalid_request", "the body is no form in UTF-8, or has too many fields") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise OAuthError("invalid_request", "a field is there twice")
    return form


def _field(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        raise OAuthError("invalid_request", f"{name} is missing")
    return form[name]


def _scopes(form: dict[str, str]) -> tuple[str, ...] | None:
    """The scopes that are asked for; None where the client leaves that to the hub."""
    return tuple(sorted(set(form.get("scope", "").split()))) or None


def _refused(exc: OAuthError) -> Response:
    is_client = exc.code == "invalid_client"
    headers = {**_HEADERS, "www-authenticate": 'Basic realm="hub"'} if is_client else _HEADERS
    body = {"error": exc.code, "error_description": exc.description}
    return JSONResponse(body, 401 if is_client else 400, headers=headers)


def _raw(_request: Request, raw: bytes) -> bytes:
    return raw


def _body(fields: dict[str, str]) -> Body[bytes]:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in _FIELDS}}
    return Body(bytes, media=None, limit=16 * 1024, parse=_raw, example=fields, form=schema)


def _refusal(*codes: str) -> dict[str, Any]:
    """The RFC's shape; what the hub itself refuses, such as a query, has the hub's."""
    own = {"error": {"enum": list(codes)}, "error_description": {"type": "string"}}
    hubs = {"success": {"const": False}, "error": {"$ref": "#/components/schemas/ErrorBody"}}
    shapes = [{"type": "object", "required": list(fields), "properties": fields} for fields in (own, hubs)]
    content = {
        JSON: {"schema": {"oneOf": shapes}, "example": {"error": codes[0], "error_description": "why, in words"}},
        PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": problem(Invalid)},
    }
    return {"description": "Refused (RFC 6749, section 5.2).", "content": content}


_REFUSALS: Final = {
    "400": _refusal("invalid_request", "invalid_grant", "invalid_scope", "unauthorized_client",
                    "unsupported_grant_type"),
    "401": _refusal("invalid_client"),
}  # fmt: skip
operations = (
    Operation(
        "POST", "/v1/oauth/token", token, "Get an access token", CLIENT,
        body=_body({"grant_type": "client_credentials"}), answer=AccessToken, media=JSON, keyed=False,
        more_answers=_REFUSALS,
    ),
    Operation(
        "POST", "/v1/oauth/revoke", revoke, "Revoke an access or refresh token", CLIENT,
        body=_body({"token": "a-refresh-token"}), keyed=False, more_answers=_REFUSALS,
    ),
)  # fmt: skip
