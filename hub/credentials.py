"""The commands `hub keys`, `hub tokens` and `hub apps`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub import client
from hub.options import Key, Url

keys = typer.Typer(help="API keys of the app: make, list, revoke.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens for browsers: make, revoke.", no_args_is_help=True)
apps = typer.Typer(help="Apps, the tenants: make, list, disable, enable, delete.", no_args_is_help=True)
signing_keys = typer.Typer(help="Keys that sign an app's tokens: make, list, delete.", no_args_is_help=True)
apps.add_typer(signing_keys, name="signing-keys")

Patterns = Annotated[list[str] | None, typer.Option(help="A topic pattern; may be given again.")]
App = Annotated[str | None, typer.Option(help="Another app than the key's own; takes the scope apps.")]


@keys.command("create")
def create_key(
    name: str,
    scope: Annotated[
        list[str] | None, typer.Option(help="What the key may do, such as events:publish; may be given again.")
    ] = None,
    role: Annotated[str | None, typer.Option(help="admin, publisher, subscriber or operator.")] = None,
    ttl: Annotated[int | None, typer.Option(help="Seconds until the key ends; without it, it never does.")] = None,
    app: App = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make an API key; it is shown this once."""
    given = _given(name=name, scopes=scope or None, role=role, ttl=ttl, app=app)
    print(client.create(client.target(url, key), "keys", given)["key"])


@keys.command("list")
def list_keys(app: App = None, url: Url = "", key: Key = "") -> None:
    """List the app's API keys."""
    columns = ("id", "name", "role", "scopes", "created_at", "expires_at", "last_used_at")
    client.table(client.target(url, key), "keys", columns, _given(app=app))


@keys.command("revoke")
def revoke_key(key_id: str, url: Url = "", key: Key = "") -> None:
    """Revoke an API key, at once and everywhere."""
    client.delete(client.target(url, key), "keys", key_id)


@tokens.command("create")
def create_token(
    user: Annotated[str | None, typer.Argument(help="Whose it is; without one it is nobody's.")] = None,
    subscribe: Patterns = None,
    publish: Patterns = None,
    presence: Patterns = None,
    ttl: Annotated[int, typer.Option(help="Seconds until it ends.")] = 3600,
    url: Url = "",
    key: Key = "",
) -> None:
    """Sign a token for a browser; prints it."""
    given = _given(user=user, subscribe=subscribe, publish=publish, presence=presence, ttl=ttl)
    print(client.create(client.target(url, key), "tokens", given)["token"])


@tokens.command("revoke")
def revoke_tokens(
    user: Annotated[str | None, typer.Option(help="All that this user was given until now.")] = None,
    jti: Annotated[str | None, typer.Option(help="The token with this id.")] = None,
    token: Annotated[str | None, typer.Option(help="This token; - reads it from standard input.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Revoke a token or all of a user, at once and everywhere."""
    text = typer.get_text_stream("stdin").read().strip() if token == "-" else token  # noqa: S105 - a sign, no secret
    client.create(client.target(url, key), ("tokens", "revoke"), _given(user=user, jti=jti, token=text))


@apps.command("create")
def create_app(
    app_id: str,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make an app, and an admin key of it, which is shown this once."""
    target = client.target(url, key)
    client.create(target, "apps", _given(id=app_id, name=name))
    print(client.create(target, "keys", {"app": app_id, "role": "admin", "name": "made with the app"})["key"])


@apps.command("list")
def list_apps(url: Url = "", key: Key = "") -> None:
    """List the apps that the key may see."""
    client.table(client.target(url, key), "apps", ("id", "name", "enabled", "created_at"))


@apps.command("disable")
def disable_app(app_id: str, url: Url = "", key: Key = "") -> None:
    """Refuse all credentials of an app and close its connections; what it is owed goes on."""
    client.change(client.target(url, key), "apps", app_id, {"enabled": False})


@apps.command("enable")
def enable_app(app_id: str, url: Url = "", key: Key = "") -> None:
    """Let a disabled app's credentials count again."""
    client.change(client.target(url, key), "apps", app_id, {"enabled": True})


@apps.command("delete")
def delete_app(
    app_id: str,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant.")] = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Delete an app with its keys, endpoints and what those are owed. Its id is never given again."""
    if not yes:
        raise client.Usage(f"This deletes {app_id} with all that it owns, for good; say --yes if that is meant")
    client.delete(client.target(url, key), "apps", app_id)


@signing_keys.command("create")
def create_signing_key(
    app_id: str,
    public_key: Annotated[
        Path | None, typer.Option(help="A file with a public key, PEM or JWK; without it the hub makes a secret.")
    ] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Give an app a key whose tokens it takes; prints its id and, of an HS256 key, its secret, this once."""
    try:
        text = None if public_key is None else public_key.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise client.Usage(f"{public_key} can't be read: {exc}") from None
    made = client.create(client.target(url, key), ("apps", app_id, "signing-keys"), _given(public_key=text))
    print(*filter(None, (made["id"], made["secret"])))


@signing_keys.command("list")
def list_signing_keys(app_id: str, url: Url = "", key: Key = "") -> None:
    """List an app's signing keys."""
    client.table(client.target(url, key), ("apps", app_id, "signing-keys"), ("id", "algorithm", "created_at"))


@signing_keys.command("delete")
def delete_signing_key(app_id: str, key_id: str, url: Url = "", key: Key = "") -> None:
    """Delete a signing key; its tokens and what they opened end everywhere."""
    client.delete(client.target(url, key), ("apps", app_id, "signing-keys"), key_id)


def _given(**fields: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in fields.items() if value is not None}
