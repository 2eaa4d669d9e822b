"""The stage that keeps the audit log, and `GET /v1/audit`.

It stands around every operation that changes what an operator set up, or shows a secret (`Operation.audited`), so no
handler has to think of it.
"""

from typing import Any, Final

import msgspec
from starlette.responses import Response

from hub.core.claims import Principal
from hub.core.errors import HubError, InvalidCursor
from hub.settings import Settings
from hub.store.audit import ID, AuditEntry, Deed
from hub.telemetry import logger
from hub.web import query
from hub.web.auth import scope
from hub.web.http import Page, now_ms, request_id
from hub.web.limiting import address_of
from hub.web.operation import Call, Operation
from hub.web.paging import Paging

PAGING: Final = Paging("audit", ID, newest_first=True)
ACTOR: Final = query.text("actor", "Only what this one did: `key:ID`, `user:NAME` or `token:ID`.")
ACTION: Final = query.text("action", "Only this action: `POST /v1/keys`.")
_MOST_FIELDS: Final = 50
_SHOWN: Final = 200
"""Characters of a name that are kept."""


class _Made(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    data: _Made


class Auditing:
    """Keeps what was done. An entry that the store doesn't take is in the process's log all the same."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = settings.trusted_proxies

    async def __call__(self, call: Call[Any], response: Response, fault: HubError | None) -> None:
        """Who isn't known did nothing."""
        if call.caller is None:
            return
        deed = Deed(
            actor=_actor(call.caller),
            action=f"{call.operation.method} {call.operation.path}",
            target=_target(call, response),
            fields=_fields(call.raw),
            address=address_of(call.request, self._trusted),
            request_id=request_id(call.request),
            status=response.status_code,
            error=None if fault is None else fault.code,
        )
        logger().info("audit", app=call.app, **msgspec.structs.asdict(deed))
        try:
            await call.resources.audit.add(call.app, deed, now_ms())
        except HubError as exc:
            logger().error("audit_not_kept", app=call.app, request_id=deed.request_id, reason=exc.message)


def _actor(principal: Principal) -> str:
    if principal.key_id is not None:
        return f"key:{principal.key_id}"
    return f"token:{principal.token_id}" if principal.user is None else f"user:{principal.user}"


def _target(call: Call[Any], response: Response) -> str | None:
    named = "/".join(str(value)[:_SHOWN] for value in call.request.path_params.values())
    if named or response.status_code != 201:
        return named or None
    try:
        return msgspec.json.decode(response.body, type=_Answer).data.id
    except msgspec.MsgspecError:  # what was made has no id: a token
        return None


def _fields(body: bytes) -> tuple[str, ...]:
    """The names that a JSON object has; its values may be secrets."""
    try:
        given = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(name[:_SHOWN] for name in list(given)[:_MOST_FIELDS])


async def listing(call: Call[None]) -> Page:
    """Who changed what, newest first: keys, tokens, apps, endpoints, deliveries, users; and who read a secret. A short
    page with `has_more` looked at much else."""
    window, actor, action = PAGING.window(call.request), ACTOR.of(call.request), ACTION.of(call.request)

    def keep(one: AuditEntry) -> bool:
        return actor in (None, one.actor) and action in (None, one.action)

    found = await call.resources.audit.page(call.app, window, None if actor is action is None else keep)
    return PAGING.page(found, window)


operations = (
    Operation(
        "GET", "/v1/audit", listing, "List what was changed", scope("admin"),
        query=(ACTOR, ACTION, *PAGING.params), answer=AuditEntry, is_list=True, errors=(InvalidCursor,),
    ),
)  # fmt: skip
