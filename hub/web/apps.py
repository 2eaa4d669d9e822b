"""Apps, the tenants: `/v1/apps`. An app's own admin sees it and looks after its signing keys; the scope `apps` is for
who runs the deployment."""

from typing import Any, Final

import msgspec
from msgspec import UNSET

from hub.core.claims import ALL_APPS, DEFAULT_APP, Principal
from hub.core.errors import Conflict, Forbidden, Invalid, InvalidCursor, NotConfigured, NotFound
from hub.core.event import now_text
from hub.core.jwk import Algorithm
from hub.core.limits import ANONYMOUS_PLAN
from hub.core.tenant import App, AppInput, AppPatch, SigningKey, SigningKeyInput, TokenRules
from hub.settings import Settings
from hub.store.paging import page_of
from hub.web.api_keys import require_app
from hub.web.auth import scope
from hub.web.http import Page
from hub.web.operation import Body, Call, Operation
from hub.web.paging import Paging

PAGING: Final = Paging("apps", newest_first=False)
SIGNING_KEYS: Final = Paging("signing-keys", newest_first=False)


class AppOut(msgspec.Struct, frozen=True):
    """An app. Of `default`, what it asks of its tokens are settings, and `created_at` is null. Without a `plan` the one
    called `default` limits its rates."""

    id: str
    name: str
    enabled: bool
    tokens: TokenRules
    plan: str | None
    created_at: str | None
    updated_at: str | None


class DeletedApp(msgspec.Struct, frozen=True):
    """What is gone."""

    id: str
    deleted: bool = True


class SigningKeyOut(msgspec.Struct, frozen=True, kw_only=True):
    """A key whose tokens the app takes; its id is the `kid` by which a token may name it."""

    id: str
    algorithm: Algorithm
    public_key: Any
    created_at: str


class NewSigningKey(SigningKeyOut, frozen=True, kw_only=True):
    """A signing key and, of an HS256 key, its secret, this once."""

    secret: str | None


async def create_app(call: Call[AppInput]) -> AppOut:
    """An id is given once: that of a deleted app is taken for good."""
    _check_plan(call, call.body.plan)
    return _shown(await call.resources.apps.create(call.body, call.seed), call.resources.settings)


async def list_apps(call: Call[None]) -> Page:
    """By id; without the scope `apps` it is one's own alone."""
    window, apps, settings = PAGING.window(call.request), call.resources.apps, call.resources.settings
    if ALL_APPS in call.principal.scopes:
        found = await apps.page(window)
    else:

        async def own(_ids: list[str]) -> list[App]:
            return [await apps.get(call.app)]

        found = await page_of([call.app], own, window)
    return PAGING.page(found, window, [_shown(app, settings) for app in found.items])


async def read_app(call: Call[None]) -> AppOut:
    """An app."""
    return _shown(await call.resources.apps.get(_id(call)), call.resources.settings)


async def update_app(call: Call[AppPatch]) -> AppOut:
    """What is absent stays; `tokens` is replaced as a whole. Disabling refuses all the app's credentials and closes its
    connections, on every process; what it is owed goes on. It takes the scope `apps`, as do a `jwks_url` and a
    `plan`."""
    app_id, given = _id(call), call.body
    if given.plan is not UNSET:
        _require_all(call.principal, "change an app's plan")
        _check_plan(call, given.plan)
    if given.enabled is not UNSET:
        _require_all(call.principal, "disable or enable an app")
    if given.tokens is not UNSET and given.tokens.jwks_url is not None:
        known = (await call.resources.apps.get(app_id)).tokens.jwks_url
        if known != given.tokens.jwks_url:
            _require_all(call.principal, "set a jwks_url, which the hub then fetches")
    changed = await call.resources.apps.update(app_id, given, lambda app: _check_match(call, app))
    return _shown(changed, call.resources.settings)


async def delete_app(call: Call[None]) -> DeletedApp:
    """From now on nothing of it opens anything, and its connections are closed; then its keys and endpoints are
    removed, and what those are owed is cancelled. Its events can't be reached any more and go with their retention."""
    app_id = call.path("id")
    await call.resources.apps.delete(app_id, lambda app: _check_match(call, app))
    await call.resources.reaper.purge(app_id)
    return DeletedApp(app_id)


async def create_signing_key(call: Call[SigningKeyInput]) -> NewSigningKey:
    """A public key (RS256, ES256 or EdDSA) whose private half signs elsewhere, or an HS256 secret, given or made."""
    given = call.body
    if given.secret is not None and given.public_key is not None:
        raise Invalid.field("secret", "goes without public_key; send one of them, or none for a secret of the hub's")
    key, secret = await call.resources.apps.add_key(_id(call), given, call.seed)
    return NewSigningKey(**msgspec.structs.asdict(_key(key)), secret=secret)


async def list_signing_keys(call: Call[None]) -> Page:
    """By age, oldest first; secrets are not shown."""
    window = SIGNING_KEYS.window(call.request)
    known = {key.id: _key(key) for key in (await call.resources.apps.get(_id(call))).signing_keys}

    async def load(ids: list[str]) -> list[SigningKeyOut]:
        return [known[id] for id in ids]

    return SIGNING_KEYS.page(await page_of(sorted(known), load, window), window)


async def delete_signing_key(call: Call[None]) -> None:
    """Its tokens are refused from now on, and what they have opened is closed, on every process."""
    await call.resources.apps.remove_key(_id(call), call.path("key"))


def _id(call: Call[Any]) -> str:
    """The app of the path, if it is the caller's to see."""
    require_app(call.principal, call.path("id"))
    return call.path("id")


def _check_match(call: Call[Any], app: App) -> None:
    call.check_match(_shown(app, call.resources.settings))


def _require_all(principal: Principal, what: str) -> None:
    if ALL_APPS not in principal.scopes:
        raise Forbidden(f"Only a key with the scope {ALL_APPS} may {what}")


def _check_plan(call: Call[Any], plan: str | None) -> None:
    """Raise Invalid for a plan that HUB_PLANS doesn't have: a slip would leave the app on the default one."""
    known = [name for name in call.resources.settings.plans if name != ANONYMOUS_PLAN]
    if plan is not None and plan not in known:
        raise Invalid.field("plan", f"{plan[:40]!r} is not allowed; HUB_PLANS has {', '.join(known) or 'none'}")


def _shown(app: App, settings: Settings) -> AppOut:
    tokens = app.tokens
    if app.id == DEFAULT_APP:
        tokens = TokenRules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks_url)
    created, updated = (now_text(moment) if moment else None for moment in (app.created_at, app.updated_at))
    return AppOut(app.id, app.name, app.state == "enabled", tokens, app.plan, created, updated)


def _key(key: SigningKey) -> SigningKeyOut:
    public = None if key.algorithm == "HS256" else msgspec.Raw(key.material.encode())
    return SigningKeyOut(id=key.id, algorithm=key.algorithm, public_key=public, created_at=now_text(key.created_at))


_ADMIN: Final = scope("admin")
_APPS: Final = scope(ALL_APPS)
operations = (
    Operation(
        "POST", "/v1/apps", create_app, "Make an app", _APPS,
        body=Body(AppInput, example={"id": "shop", "name": "The shop"}), answer=AppOut, status=201, errors=(Conflict,),
    ),
    Operation(
        "GET", "/v1/apps", list_apps, "List apps", _ADMIN,
        query=PAGING.params, answer=AppOut, is_list=True, errors=(InvalidCursor,),
    ),
    Operation("GET", "/v1/apps/{id}", read_app, "Read an app", _ADMIN, answer=AppOut, errors=(NotFound,)),
    Operation(
        "PATCH", "/v1/apps/{id}", update_app, "Change, disable or enable an app", _ADMIN,
        body=Body(AppPatch, example={"name": "The shop in Bern"}), answer=AppOut, errors=(NotFound, Conflict),
        conditional=True,
    ),
    Operation(
        "DELETE", "/v1/apps/{id}", delete_app, "Delete an app", _APPS,
        answer=DeletedApp, errors=(NotFound, Conflict), conditional=True,
    ),
    Operation(
        "POST", "/v1/apps/{id}/signing-keys", create_signing_key, "Give an app a key that signs tokens", _ADMIN,
        body=Body(SigningKeyInput, example={"secret": "a-secret-that-the-app-shares-with-us"}),
        answer=NewSigningKey, status=201, errors=(NotFound, Conflict, NotConfigured),
    ),
    Operation(
        "GET", "/v1/apps/{id}/signing-keys", list_signing_keys, "List an app's signing keys", _ADMIN,
        query=SIGNING_KEYS.params, answer=SigningKeyOut, is_list=True, errors=(NotFound, InvalidCursor),
    ),
    Operation(
        "DELETE", "/v1/apps/{id}/signing-keys/{key}", delete_signing_key, "Delete a signing key", _ADMIN,
        status=204, errors=(NotFound,),
    ),
)  # fmt: skip
