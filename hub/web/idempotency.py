"""The stage that runs a request with an Idempotency-Key once, and gives its answer again to whoever repeats it."""

import re
from hashlib import sha256
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from hub.core.errors import HubError, Invalid
from hub.store.requests import Claim, Stored
from hub.web.http import failed
from hub.web.operation import KEY, Call, Proceed

REPLAY: Final = "idempotency-replay"
_KEY: Final = re.compile(r"[!-~]{1,255}")
_OWN: Final = frozenset({"content-length", "x-request-id", "date"})
"""Headers that belong to one answer alone."""
_SAYS: Final = frozenset({"content-type", "if-match"})
_AGAIN: Final = frozenset({408, 409, 425, 429})
"""Refusals that trying again mends: they aren't kept."""


async def idempotency(call: Call[Any], proceed: Proceed) -> Response:
    """Answers a keyed operation that was sent a key. Raises Invalid, IdempotencyKeyReused, RequestInProgress,
    NotConfigured."""
    key = call.request.headers[KEY]
    if call.caller is None:
        return await proceed(call)
    if not _KEY.fullmatch(key):
        raise Invalid.field("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    # An app's API keys share their Idempotency-Keys, so that a retry may come with the next one; a token's holder must
    # not be given what another one asked for.
    caller = call.caller
    holder = None if caller.key_id is not None else caller.user or caller.token_id
    call.claim = Claim(call.app, key if holder is None else f"{holder}\0{key}", _fingerprint(call.request, call.raw))
    if not call.operation.recorded:
        return await proceed(call)
    async with call.resources.requests.begin(call.claim) as begun:
        if isinstance(begun, Stored):
            call.headers[REPLAY] = "true"
            return Response(begun.body, begun.status, begun.headers)
        call.seed = begun.seed
        before = set(call.headers)
        try:
            response = await proceed(call)
        except HubError as exc:
            response = failed(call.request, exc)
        if response.status_code < 500 and response.status_code not in _AGAIN:
            own = {name: text for name, text in call.headers.items() if name not in before}
            kept = {name: text for name, text in response.headers.items() if name not in _OWN}
            begun.answer = Stored(response.status_code, {**kept, **own}, bytes(response.body))
        return response


def _fingerprint(request: Request, body: bytes) -> str:
    """What makes a request the same: the route, the body as it came, and what says how to read it."""
    digest = sha256()
    headers = request.headers
    says = sorted(f"{name}:{text}" for name, text in headers.items() if name in _SAYS or name[:3] == "ce-")
    for part in (request.method, request.scope["path"], request.scope["query_string"].decode("latin-1"), *says):
        digest.update(part.encode() + b"\0")
    digest.update(body)
    return digest.hexdigest()
