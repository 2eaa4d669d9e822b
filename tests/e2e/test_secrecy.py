"""Nothing secret is seen: every credential goes every way, the wrong ones too; then logs, answers, metrics and all that
the store ever got are searched."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from hub.store import keys
from tests.support.hub import JWT_SECRET, Hub, auth, token
from tests.support.live import WsClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.unit.test_jose import pem, private

BOOT = "bootstrap-key-of-this-test-0123456789"
SECRET_KEY = base64.b64encode(b"s" * 32).decode()
OWN_SECRET = "a-secret-that-an-app-brought-0123456789"
IN_URL = "in-the-query-of-a-jwks-url"
"""No secret to the app's admins; but the log has nothing of it."""


class Witness:
    """Does requests, and keeps what was answered: everything, and apart from that what may hold a new secret."""

    def __init__(self, hub: Hub, client: httpx.AsyncClient) -> None:
        self._hub = hub
        self._client = client
        self.answers: list[str] = []
        self.secrets: set[str] = {BOOT, JWT_SECRET, SECRET_KEY, OWN_SECRET, IN_URL}

    async def ask(self, method: str, path: str, credential: str = BOOT, **more: Any) -> httpx.Response:
        given = {**auth(credential), **more.pop("headers", {})}
        headers = {name: value for name, value in given.items() if value}
        found = await self._client.request(method, self._hub.url(path), headers=headers, **more)
        self.answers.append(f"{found.headers}{found.text}")
        return found

    async def make(self, path: str, body: Any, *fields: str, credential: str = BOOT) -> dict[str, Any]:
        """What is made; its secret fields are shown in this answer and must be nowhere else."""
        found = await self.ask("POST", path, credential, json=body)
        assert found.is_success, found.text
        self.answers.pop()
        self.secrets |= {found.json()["data"][field] for field in fields}
        return found.json()["data"]

    async def grant(self, form: dict[str, str], **more: Any) -> dict[str, Any]:
        found = await self.ask("POST", "/v1/oauth/token", data=form, headers={"authorization": ""}, **more)
        if found.is_success:
            self.answers.pop()
            self.secrets |= {found.json()[name] for name in ("access_token", "refresh_token")}
        return found.json()

    async def show(self, credential: str, app: str = "default") -> None:
        """Present a credential in every way that there is."""
        self.secrets.add(credential)
        for path in ("/v1/keys", f"/v1/apps/{app}", "/v1/poll?topic=a&wait=0"):
            await self.ask("GET", path, credential)
        for name in ("token", "ticket"):
            await self.ask("GET", f"/v1/poll?topic=a&wait=0&{name}={credential}", headers={"authorization": ""})
            await self.ask("GET", f"/v1/events?{name}={credential}", headers={"authorization": ""})
        await self.ask(
            "GET", "/v1/stream?topic=a..b", headers={"authorization": "", "cookie": f"hub_token={credential}"}
        )
        await self.ask("GET", "/v1/events", headers={"authorization": f"Basic {credential}"})
        for url, first in ((f"?token={credential}", ""), (f"?ticket={credential}", ""), ("", credential)):
            with contextlib.suppress(WebSocketException, TimeoutError):
                async with asyncio.timeout(3), connect(self._hub.ws_url() + url) as ws:
                    if first:
                        await ws.send(json.dumps({"type": "authenticate", "token": first, "ref": 1}))
                    self.answers.append(str(await ws.recv()))


async def api_keys(witness: Witness) -> None:
    key = await witness.make("/v1/keys", {"role": "admin", "name": "n"}, "key")
    await witness.show(key["key"])
    await witness.show(key["key"] + "x")
    await witness.show(key["key"][:-1])
    short = await witness.make("/v1/keys", {"role": "admin", "ttl": 1}, "key")
    await witness.show(short["key"])
    await witness.ask("DELETE", f"/v1/keys/{key['id']}")
    await witness.show(key["key"])
    await witness.ask("GET", f"/v1/keys/{key['key']}")


async def tokens(witness: Witness) -> None:
    made = await witness.make("/v1/tokens", {"user": "ann", "subscribe": ["**"]}, "token")
    await witness.show(made["token"])
    await witness.ask("POST", "/v1/tokens/revoke", json={"token": made["token"]})
    await witness.show(made["token"])
    for wrong in (token("ann", ttl=-5), token("ann", secret="x" * 40), jwt.encode({"a": 1}, private("RS256"), "RS256")):
        await witness.show(wrong)
        await witness.ask("POST", "/v1/tokens/revoke", json={"token": wrong})
    ticket = await witness.make("/v1/tickets", {"subscribe": ["**"]}, "ticket")
    await witness.show(ticket["ticket"])


async def signing_keys(witness: Witness, site: Receiver) -> None:
    site.then = answer(500)
    rules = {"jwks_url": f"{site.url('/jwks')}?key={IN_URL}"}
    await witness.make("/v1/apps", {"id": "acme", "tokens": rules})
    path = "/v1/apps/acme/signing-keys"
    made = await witness.make(path, {}, "secret")
    given = await witness.make(path, {"secret": OWN_SECRET})
    for secret, key in ((made["secret"], made["id"]), (OWN_SECRET, given["id"])):
        claims = {"app": "acme", "exp": time.time() + 60, "hub": {"subscribe": ["**"]}}
        await witness.show(jwt.encode(claims, secret, "HS256", headers={"kid": key}), "acme")
    await witness.show(jwt.encode({"app": "acme", "exp": time.time() + 60}, private("ES256"), "ES256"), "acme")
    assert site.got, "the issuer was asked"
    form = serialization.PrivateFormat.PKCS8
    half = private("ES256").private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    witness.secrets.add(half.splitlines()[1])
    for body in ({"public_key": half}, {"secret": OWN_SECRET, "public_key": pem("RS256")}, {"secret": [OWN_SECRET]}):
        assert (await witness.ask("POST", path, json=body)).status_code == 400
    broken = json.dumps({"secret": OWN_SECRET})[:-1].encode()
    await witness.ask("POST", path, content=broken, headers={"content-type": "application/json"})
    await witness.ask("GET", path)
    await witness.ask("DELETE", f"{path}/{made['id']}")


async def oauth(witness: Witness) -> None:
    key = await witness.make("/v1/keys", {"role": "subscriber"}, "key")
    client = {"client_id": key["id"], "client_secret": key["key"]}
    first = await witness.grant({**client, "grant_type": "client_credentials"})
    await witness.grant({"grant_type": "client_credentials"}, auth=(key["id"], key["key"]))
    await witness.show(first["access_token"])
    await witness.show(first["refresh_token"])
    form = {**client, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = await witness.grant(form)
    assert (await witness.grant(form))["error"] == "invalid_grant"
    await witness.show(second["access_token"])
    for wrong in ({**form, "client_secret": key["key"] + "x"}, {**form, "scope": "admin"}, {**form, "grant_type": "x"}):
        await witness.grant(wrong)
    third = await witness.grant({**client, "grant_type": "client_credentials"})
    await witness.ask("POST", "/v1/oauth/revoke", headers={"authorization": ""},
                      data={**client, "token": third["refresh_token"]})  # fmt: skip
    await witness.show(third["access_token"])
    await witness.ask("POST", f"/v1/oauth/token?client_secret={key['key']}", headers={"authorization": ""})


@contextlib.asynccontextmanager
async def witnessed(hub: Hub) -> AsyncGenerator[Witness]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield Witness(hub, client)


async def test_no_secret_is_in_logs_answers_metrics_or_the_store() -> None:
    with Hub(HUB_BOOTSTRAP_KEY=BOOT, HUB_SECRET_KEY=SECRET_KEY, HUB_LOG_LEVEL="debug") as hub:
        async with witnessed(hub) as witness, Receiver() as site:
            await witness.show(BOOT)
            await api_keys(witness)
            await tokens(witness)
            await signing_keys(witness, site)
            await oauth(witness)
            async with WsClient.open(hub, key=BOOT) as ws:
                witness.answers.append(str(await ws.ask("authenticate", token=JWT_SECRET)))
            metrics = await witness.ask("GET", "/metrics")
            assert metrics.status_code == 200
            web = hub.webs[0]
            await witness.ask("GET", "/v1/the-end")
            await eventually(lambda: "/v1/the-end" in web.log, "the last request is logged")
            assert await asyncio.to_thread(web.terminate) == 0
            with hub.store.client() as store:
                assert store.hlen(keys.KEYS_USED) >= 1, "the last use is written as the process ends"
            written = b"".join(path.read_bytes() for path in hub.store.folder.rglob("*") if path.is_file())
            log, answers = web.log, "\n".join(witness.answers)
    assert len(witness.secrets) > 25
    assert len(witness.answers) > 150
    assert b"hub:{cfg}:grant:" in written, "the store's file holds what it was sent"
    for one in sorted(witness.secrets):
        assert one not in log, f"{one[:14]}… is in the log"
        assert one.encode() not in written or one == IN_URL, f"{one[:14]}… is in the store"
        assert one not in answers or one == IN_URL, f"{one[:14]}… is in an answer"
        tail = one.rpartition(".")[2]
        assert tail not in log, f"the signature {tail[:8]}… is in the log"
    for word in ("Bearer ", "token=", "ticket=", "client_secret", "Authorization", "PRIVATE KEY"):
        assert word not in log
