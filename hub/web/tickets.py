"""`POST /v1/tickets`: credentials for URLs, of a WebSocket or an EventSource, which can't carry a header."""

import time
from typing import Final

import msgspec

from hub.core.claims import Principal, from_jwt
from hub.core.errors import Invalid
from hub.web.admin import TokenInput, claims_of
from hub.web.auth import HOLDER
from hub.web.operation import Body, Call, Operation

_OWN: Final = ("user", "subscribe", "publish", "presence")


class Ticket(msgspec.Struct, frozen=True):
    """A ticket, and for how many seconds it is good."""

    ticket: str
    expires_in: int


async def create_ticket(call: Call[TokenInput]) -> Ticket:
    """An API key with the scope admin makes one for rights that it names, like a token; a token's holder for itself."""
    caller, given = call.principal, call.body
    if caller.key_id is None:
        holder, expires_at = _own(caller, given)
    else:
        caller.require("admin")
        holder, expires_at = _granted(caller, given)
    ticket = await call.resources.tickets.issue(holder, expires_at)
    return Ticket(ticket, max(0, int(expires_at - time.time())))


def _own(caller: Principal, given: TokenInput) -> tuple[Principal, float]:
    """The caller, whose connection ends with its token; the ticket with it or before."""
    for name in _OWN:
        if getattr(given, name):
            raise Invalid.field(name, "is for API keys; a token's ticket has the token's rights. Allowed: ttl")
    claims = claims_of(given)
    assert caller.expires_at is not None
    return caller, min(claims["exp"], caller.expires_at)


def _granted(caller: Principal, given: TokenInput) -> tuple[Principal, float]:
    """Whoever is named. The connection ends with the ticket, and with the key that made it."""
    claims = claims_of(given)
    holder = msgspec.structs.replace(from_jwt(claims), app=caller.app, key_id=caller.key_id, token_id=caller.token_id)
    return holder, claims["exp"]


operations = (
    Operation(
        "POST", "/v1/tickets", create_ticket, "Make a ticket for a URL", HOLDER._replace(rule="`admin` or a token"),
        body=Body(TokenInput, example={"user": "ann", "subscribe": ["orders.**"], "ttl": 600}),
        answer=Ticket, status=201,
    ),
)  # fmt: skip
