"""API keys: `/v1/keys` (scope `admin`)."""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from hub.core.claims import ALL_APPS, DEFAULT_APP, Principal
from hub.core.errors import Conflict, Forbidden, Invalid, InvalidCursor, NotFound
from hub.core.event import now_text
from hub.core.roles import ROLES, check_grant, scopes_of
from hub.core.tenant import AppInput, check_id
from hub.store.api_keys import KeySpec, Listed
from hub.web import query
from hub.web.auth import scope
from hub.web.context import Context
from hub.web.http import Page, now_ms
from hub.web.operation import Body, Call, Operation
from hub.web.paging import Paging

MAX_LIFE_MS: Final = 3650 * 86400 * 1000
APP: Final = query.text("app", "Whose keys; another app than one's own with the scope `apps`.")
ROLE: Final = query.choice("role", "Only those of this role.", *ROLES)
PAGING: Final = Paging("keys", re.compile(r"key_[0-9a-zA-Z_-]{1,80}"), newest_first=False)


class KeyInput(msgspec.Struct, forbid_unknown_fields=True):
    """What a key is to be: a `role`, `scopes`, or both. It ends at `expires_at` or after `ttl` seconds; else never."""

    role: str | None = None
    scopes: tuple[str, ...] = ()
    name: str = ""
    app: str | None = None
    ttl: int | None = None
    expires_at: datetime | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key's record. `scopes` has the role's too; `last_used_at` is a minute or two behind."""

    id: str
    app: str
    name: str
    role: str | None
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class NewKey(Key, frozen=True, kw_only=True):
    """An API key, whose text is shown this once."""

    key: str


async def create_key(call: Call[KeyInput]) -> NewKey:
    """The key's text is in this answer and never again. With the scope `apps` it may be another app's key, which is
    made where there is none."""
    principal, given = call.principal, call.body
    check_grant(given.role, given.scopes)
    if len(given.name) > 100:
        raise Invalid.field("name", f"has {len(given.name)} characters; allowed are 100")
    spec = KeySpec(given.name, given.role, given.scopes, _end(given, now_ms()))
    app = principal.app if given.app is None else given.app
    check_id(app, "app")
    _check_right(principal, app, given)
    if app != principal.app:
        await _ensure(call.resources, app)
    record, key = await call.resources.api_keys.create(app, spec, call.seed)
    return NewKey(**msgspec.structs.asdict(_shown(Listed(record, None))), key=key)


async def list_keys(call: Call[None]) -> Page:
    """An app's keys by age, oldest first, those that have expired included."""
    request, window, role = call.request, PAGING.window(call.request), ROLE.of(call.request)
    app = APP.of(request) or call.app
    require_app(call.principal, app)

    def keep(one: Listed) -> bool:
        return one.key.role == role

    found = await call.resources.api_keys.page(app, window, None if role is None else keep)
    return PAGING.page(found, window, [_shown(one) for one in found.items])


async def read_key(call: Call[None]) -> Key:
    """A key's record."""
    return _shown(await _found(call))


async def revoke_key(call: Call[None]) -> None:
    """It is refused within a fifth of a second, and what it has opened is closed, on every process."""
    found = await _found(call)
    call.check_match(_shown(found))
    await call.resources.api_keys.revoke(found.key.app, found.key.id)


def require_app(principal: Principal, app: str) -> None:
    """Raise NotFound for another app than one's own, unless the caller runs the deployment."""
    if app != principal.app and ALL_APPS not in principal.scopes:
        raise NotFound(f"No app {app[:70]!r}")


async def _found(call: Call[None]) -> Listed:
    found = await call.resources.api_keys.get(call.path("id"))
    if found.key.app != call.app and ALL_APPS not in call.principal.scopes:
        raise NotFound("No API key has this id")
    return found


def _check_right(principal: Principal, app: str, given: KeyInput) -> None:
    """Whether this caller may make such a key."""
    if app != principal.app and ALL_APPS not in principal.scopes:
        raise Forbidden(f"Only a key with the scope {ALL_APPS} may make keys for another app")
    if ALL_APPS in scopes_of(given.role, given.scopes):
        if ALL_APPS not in principal.scopes:
            raise Forbidden(f"Only a key with the scope {ALL_APPS} may give it on")
        if app != DEFAULT_APP:
            raise Invalid.field("scopes", f"{ALL_APPS} is for keys of the app {DEFAULT_APP}")


async def _ensure(resources: Context, app: str) -> None:
    try:
        await resources.apps.get(app)
    except NotFound:
        await resources.apps.create(AppInput(app))


def _end(given: KeyInput, now: int) -> int | None:
    """When the key ends, in ms."""
    if given.ttl is not None and given.expires_at is not None:
        raise Invalid.field("ttl", "goes without expires_at; send one of them")
    field, end = "expires_at", None
    if given.ttl is not None:
        field, end = "ttl", now + given.ttl * 1000
    elif given.expires_at is not None:
        end = round(given.expires_at.replace(tzinfo=given.expires_at.tzinfo or UTC).timestamp() * 1000)
    if end is not None and not now < end <= now + MAX_LIFE_MS:
        raise Invalid.field(field, "must lie in the future, at most ten years ahead")
    return end


def _shown(found: Listed) -> Key:
    key = found.key
    return Key(
        id=key.id,
        app=key.app,
        name=key.name,
        role=key.role,
        scopes=tuple(sorted(key.all_scopes)),
        created_at=now_text(key.created_at),
        expires_at=None if key.expires_at is None else now_text(key.expires_at),
        last_used_at=None if found.last_used_at is None else now_text(found.last_used_at),
    )


_ADMIN: Final = scope("admin")
operations = (
    Operation(
        "POST", "/v1/keys", create_key, "Make an API key", _ADMIN,
        body=Body(KeyInput, example={"name": "shop", "role": "publisher", "ttl": 86400}),
        answer=NewKey, status=201, errors=(Conflict, NotFound),
    ),
    Operation(
        "GET", "/v1/keys", list_keys, "List API keys", _ADMIN,
        query=(APP, ROLE, *PAGING.params), answer=Key, is_list=True, errors=(NotFound, InvalidCursor),
    ),
    Operation("GET", "/v1/keys/{id}", read_key, "Read an API key's record", _ADMIN, answer=Key, errors=(NotFound,)),
    Operation(
        "DELETE", "/v1/keys/{id}", revoke_key, "Revoke an API key", _ADMIN,
        status=204, errors=(NotFound,), conditional=True,
    ),
)  # fmt: skip
