"""Apps: the tenants of a deployment, what each asks of its tokens, and the keys that sign them."""

import re
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from hub.core import jwk
from hub.core.claims import DEFAULT_APP
from hub.core.errors import Conflict, Forbidden, Invalid
from hub.core.jose import Rules
from hub.core.jwk import Algorithm

MAX_SIGNING_KEYS: Final = 10
_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_URL: Final = re.compile(r"https?://[!-~]{1,2000}")
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
State: TypeAlias = Literal["enabled", "disabled", "deleting", "deleted"]
"""A deleted app's id is kept: what the log still holds of it must never be another's."""


class SigningKey(msgspec.Struct, frozen=True):
    """A key whose tokens an app takes. `material` is a JWK; of an HS256 key, the sealed secret."""

    id: str
    algorithm: Algorithm
    material: str
    created_at: int


class TokenRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an app asks of its tokens, and where the keys of another issuer are (a JWKS URL)."""

    issuer: _Text | None = None
    audience: _Text | None = None
    jwks_url: str | None = None


class App(msgspec.Struct, frozen=True):
    """An app's record. Times are in ms; `ended_at` is when its deletion began. `plan` limits its rates."""

    id: str
    name: str = ""
    state: State = "enabled"
    tokens: TokenRules = TokenRules()
    signing_keys: tuple[SigningKey, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    ended_at: int | None = None
    plan: str | None = None

    def rules(self, leeway: float) -> Rules:
        return Rules(self.tokens.issuer, self.tokens.audience, leeway)

    @property
    def gone(self) -> bool:
        return self.state in ("deleting", "deleted")

    def check_open(self) -> None:
        """Raise Forbidden unless its credentials count now."""
        if self.state != "enabled":
            raise Forbidden(f"The app {self.id!r} is {'disabled' if self.state == 'disabled' else 'deleted'}")


class AppInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str = ""
    tokens: TokenRules = TokenRules()
    plan: str | None = None


class AppPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is absent stays; `tokens` is replaced as a whole."""

    name: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    tokens: TokenRules | UnsetType = UNSET
    plan: str | UnsetType | None = UNSET


class SigningKeyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`public_key` is PEM or a JWK's text, `secret` an HS256 secret. Without both the hub makes a secret."""

    secret: str | None = None
    public_key: str | None = None


def create(given: AppInput, now_ms: int) -> App:
    """The app that the input stands for, or Invalid."""
    check_id(given.id, "id")
    _check_name(given.name)
    _check_rules(given.tokens)
    return App(given.id, given.name, tokens=given.tokens, created_at=now_ms, updated_at=now_ms, plan=given.plan)


def change(app: App, given: AppPatch, now_ms: int) -> App:
    """The app with the change, or Invalid, Conflict."""
    if app.id == DEFAULT_APP and given.enabled is False:
        raise Conflict(f"The app {DEFAULT_APP!r} can't be disabled: the bootstrap key is its")
    if app.id == DEFAULT_APP and given.tokens is not UNSET:
        raise Conflict(f"What {DEFAULT_APP!r} asks of its tokens are the settings HUB_JWT_*; change them there")
    if given.name is not UNSET:
        _check_name(given.name)
        app = msgspec.structs.replace(app, name=given.name)
    if given.tokens is not UNSET:
        _check_rules(given.tokens)
        app = msgspec.structs.replace(app, tokens=given.tokens)
    if given.plan is not UNSET:
        app = msgspec.structs.replace(app, plan=given.plan)
    if given.enabled is not UNSET:
        app = msgspec.structs.replace(app, state="enabled" if given.enabled else "disabled")
    return msgspec.structs.replace(app, updated_at=now_ms)


def end(app: App, now_ms: int) -> App:
    """The app as its deletion begins: nothing of it opens anything any more. Raises Conflict."""
    if app.id == DEFAULT_APP:
        raise Conflict(f"The app {DEFAULT_APP!r} can't be deleted: the bootstrap key is its")
    return App(app.id, app.name, "deleting", created_at=app.created_at, updated_at=now_ms, ended_at=now_ms)


def check_id(id: str, field: str) -> None:
    if not _ID.fullmatch(id):
        raise Invalid.field(field, "must be 1 to 63 of a-z 0-9 _ - and begin with a letter or digit")


def with_key(app: App, key: SigningKey, now_ms: int) -> App:
    """The app with one more signing key. Raises Conflict when it has all that it may have."""
    if len(app.signing_keys) >= MAX_SIGNING_KEYS:
        raise Conflict(f"The app has {MAX_SIGNING_KEYS} signing keys; delete one that is no longer used")
    return msgspec.structs.replace(app, signing_keys=(*app.signing_keys, key), updated_at=now_ms)


def without_key(app: App, key_id: str, now_ms: int) -> App:
    kept = tuple(key for key in app.signing_keys if key.id != key_id)
    return msgspec.structs.replace(app, signing_keys=kept, updated_at=now_ms)


def public_material(text: str) -> tuple[Algorithm, str]:
    """The algorithm of a public key and its JWK, or Invalid."""
    try:
        key = jwk.public_key(text)
        return key.algorithm, jwk.public_text(key)
    except ValueError as exc:
        raise Invalid.field("public_key", str(exc)) from None


def check_secret(secret: str) -> None:
    """Raise Invalid unless this can be an HS256 secret."""
    try:
        jwk.secret_key(secret)
    except ValueError as exc:
        raise Invalid.field("secret", str(exc)) from None


def _check_name(name: str) -> None:
    if len(name) > 100:
        raise Invalid.field("name", f"has {len(name)} characters; allowed are 100")


def _check_rules(rules: TokenRules) -> None:
    if rules.jwks_url is not None and not is_url(rules.jwks_url):
        raise Invalid.field("tokens.jwks_url", "is not a URL such as https://id.example/.well-known/jwks.json")


def is_url(text: str) -> bool:
    return _URL.fullmatch(text) is not None and "@" not in text.split("/")[2]
