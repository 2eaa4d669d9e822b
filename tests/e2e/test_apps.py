"""Apps: made, changed, disabled, enabled and deleted, and what each means for all that they own, on every process."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from hub.core.tenant import MAX_SIGNING_KEYS
from hub.store import keys
from tests.support.hub import Hub, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.receiver import Receiver
from tests.support.waiting import eventually
from tests.unit.test_jose import hmac_signed, pem, private

BOUND = 1.0
"""Seconds within which a change to an app counts on every process."""
_numbers = itertools.count(1)


@pytest.fixture
def app() -> str:
    """The id of an app that no other test uses."""
    return f"tenant-{next(_numbers)}-{time.time_ns():x}"


@pytest.fixture
async def admin(hub: Hub, client: httpx.AsyncClient, app: str) -> AsyncIterator[httpx.AsyncClient]:
    """The admin of a new app."""
    assert (await client.post("/v1/apps", json={"id": app, "name": "A tenant"})).status_code == 201
    made = (await client.post("/v1/keys", json={"app": app, "role": "admin"})).json()["data"]
    async with hub.client(key=made["key"]) as opened:
        yield opened


def fault(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    return answer.status_code, error["details"][0]["field"] if error["details"] else error["code"]


async def status(hub: Hub, credential: str, index: int, path: str = "/v1/topics") -> int:
    async with hub.client(index, credential) as one:
        return (await one.get(path)).status_code


async def test_an_app_is_made_once_changed_and_listed(client: httpx.AsyncClient, app: str) -> None:
    tokens = {"issuer": "https://id.example", "audience": "hub", "jwks_url": "https://id.example/jwks.json"}
    made = await client.post("/v1/apps", json={"id": app, "name": "One", "tokens": tokens})
    assert made.status_code == 201
    shown = made.json()["data"]
    assert (shown["id"], shown["name"], shown["enabled"], shown["tokens"]) == (app, "One", True, tokens)
    assert fault(await client.post("/v1/apps", json={"id": app})) == (409, "CONFLICT")
    assert (await client.get(f"/v1/apps/{app}")).json()["data"] == shown
    changed = (await client.patch(f"/v1/apps/{app}", json={"name": "Two"})).json()["data"]
    assert (changed["name"], changed["tokens"]) == ("Two", tokens)
    emptied = (await client.patch(f"/v1/apps/{app}", json={"tokens": {"audience": "hub"}})).json()["data"]
    assert emptied["tokens"] == {"issuer": None, "audience": "hub", "jwks_url": None}
    assert (await client.get("/v1/apps/nobody")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "id"),
        ({"id": "A"}, "id"),
        ({"id": "a:b"}, "id"),
        ({"id": "x" * 64}, "id"),
        ({"id": ""}, "id"),
        ({"id": "a", "name": "x" * 101}, "name"),
        ({"id": "a", "tokens": {"jwks_url": "file:///etc/passwd"}}, "tokens.jwks_url"),
        ({"id": "a", "tokens": {"jwks_url": "https://u:p@id.example/"}}, "tokens.jwks_url"),
        ({"id": "a", "tokens": {"issuer": ""}}, "tokens.issuer"),
        ({"id": "a", "tokens": {"kid": "x"}}, "tokens.kid"),
        ({"id": "a", "enabled": False}, "enabled"),
    ],
)
async def test_an_app_that_breaks_a_rule_is_not_made(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    assert fault(await client.post("/v1/apps", json=body)) == (400, field)


async def test_the_list_goes_both_ways_and_holds_the_default_app(client: httpx.AsyncClient, app: str) -> None:
    names = [f"{app}-{n}" for n in range(5)]
    for name in names:
        await client.post("/v1/apps", json={"id": name})
    await eventually(lambda: in_list(client, "default"), "the default app is listed")
    first = (await client.get("/v1/apps", params={"limit": 2, "after": f"apps:{app}"})).json()
    assert [one["id"] for one in first["data"]] == names[:2]
    assert first["pagination"]["has_more"]
    second = (await client.get("/v1/apps", params={"limit": 2, "after": first["pagination"]["next_cursor"]})).json()
    assert [one["id"] for one in second["data"]] == names[2:4]
    back = (await client.get("/v1/apps", params={"limit": 2, "before": second["pagination"]["prev_cursor"]})).json()
    assert back["data"] == first["data"]
    assert back["pagination"]["next_cursor"] == first["pagination"]["next_cursor"]
    assert fault(await client.get("/v1/apps", params={"after": "apps:a", "before": "apps:b"})) == (400, "before")


async def in_list(client: httpx.AsyncClient, app: str) -> bool:
    return any(one["id"] == app for one in (await client.get("/v1/apps", params={"limit": 500})).json()["data"])


async def test_the_default_app_can_not_go_and_its_rules_are_settings(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/v1/apps/default")).json()["data"]
    assert (shown["id"], shown["enabled"]) == ("default", True)
    assert fault(await client.patch("/v1/apps/default", json={"enabled": False})) == (409, "CONFLICT")
    assert fault(await client.patch("/v1/apps/default", json={"tokens": {}})) == (409, "CONFLICT")
    assert fault(await client.delete("/v1/apps/default")) == (409, "CONFLICT")
    assert (await client.patch("/v1/apps/default", json={"name": "Ours"})).json()["data"]["name"] == "Ours"


async def test_an_apps_own_admin_looks_after_it_but_does_not_run_the_deployment(
    admin: httpx.AsyncClient, app: str
) -> None:
    assert [one["id"] for one in (await admin.get("/v1/apps")).json()["data"]] == [app]
    assert (await admin.patch(f"/v1/apps/{app}", json={"name": "Mine"})).json()["data"]["name"] == "Mine"
    assert (await admin.patch(f"/v1/apps/{app}", json={"tokens": {"issuer": "me"}})).status_code == 200
    for body in ({"enabled": False}, {"enabled": True}, {"tokens": {"jwks_url": "https://id.example/"}}):
        assert fault(await admin.patch(f"/v1/apps/{app}", json=body)) == (403, "FORBIDDEN")
    assert (await admin.delete(f"/v1/apps/{app}")).status_code == 403
    assert (await admin.post("/v1/apps", json={"id": "another"})).status_code == 403


async def test_a_disabled_app_is_shut_within_a_second_and_as_it_was_when_it_is_enabled(
    hub: Hub, client: httpx.AsyncClient, admin: httpx.AsyncClient, app: str, topic: str
) -> None:
    await admin.post(f"/v1/apps/{app}/signing-keys", json={})
    key = admin.headers["authorization"].removeprefix("Bearer ")
    granted = (await admin.post("/v1/tokens", json={"user": "ann", "subscribe": [topic]})).json()["data"]["token"]
    ticket = (await admin.post("/v1/tickets", json={"subscribe": [topic]})).json()["data"]["ticket"]
    async with (
        Receiver() as site,
        WsClient.open(hub, key=key, index=0) as by_key,
        WsClient.open(hub, key=granted, index=1) as by_token,
        SseClient.open(hub, f"topic={topic}", key=granted, index=1) as sse,
    ):
        await admin.post("/v1/endpoints", json={"url": site.url(), "topics": [topic]})
        await sse.event()
        began = time.monotonic()
        assert (await client.patch(f"/v1/apps/{app}", json={"enabled": False})).json()["data"]["enabled"] is False
        assert (await asyncio.gather(by_key.closed(), by_token.closed(), sse.rest()))[:2] == [4003, 4003]
        for index, credential in itertools.product((0, 1), (key, granted)):
            await eventually(lambda i=index, c=credential: refused(hub, c, i), "it is refused", BOUND)
        assert time.monotonic() - began < BOUND + 0.5
        for index in (0, 1):
            async with httpx.AsyncClient() as anyone:
                answer = await anyone.get(hub.url(f"/v1/stream?topic={topic}&ticket={ticket}", index))
            assert answer.status_code == 403
        assert (await client.patch(f"/v1/apps/{app}", json={"enabled": True})).json()["data"]["enabled"] is True
        await eventually(lambda: opens(hub, granted, topic), "the app is open again", BOUND)
        await publish(admin, topic, "back")
        await site.until(1)


async def refused(hub: Hub, credential: str, index: int) -> bool:
    return await status(hub, credential, index, "/v1/poll?topic=a&wait=0") == 403


async def opens(hub: Hub, credential: str, topic: str) -> bool:
    return all([await status(hub, credential, index, f"/v1/poll?topic={topic}&wait=0") == 200 for index in (0, 1)])


async def test_a_deleted_app_is_shut_at_once_and_what_it_owned_is_gone(
    hub: Hub, client: httpx.AsyncClient, admin: httpx.AsyncClient, app: str, topic: str
) -> None:
    key = admin.headers["authorization"].removeprefix("Bearer ")
    signing = (await admin.post(f"/v1/apps/{app}/signing-keys", json={})).json()["data"]
    claims = {"app": app, "exp": time.time() + 600, "iat": time.time(), "hub": {"subscribe": [topic]}}
    granted = jwt.encode(claims, signing["secret"], algorithm="HS256")
    made = [(await admin.post("/v1/endpoints", json={"url": "http://127.0.0.1:1/", "topics": [topic]})).json()["data"]
            for _ in range(3)]  # fmt: skip
    sent = await publish(admin, topic, "kept by the log")
    async with WsClient.open(hub, key=granted, index=1) as ws:
        assert (await client.delete(f"/v1/apps/{app}")).json()["data"] == {"id": app, "deleted": True}
        assert await ws.closed() == 4003
    for index in (0, 1):
        for credential in (key, granted):
            await eventually(lambda i=index, c=credential: gone(hub, c, i), "it is refused", BOUND)
    for path in (f"/v1/apps/{app}", f"/v1/keys?app={app}&limit=1"):
        found = await client.get(path)
        assert found.status_code == 404 or found.json()["data"] == []
    assert not await in_list(client, app)
    assert (await client.delete(f"/v1/apps/{app}")).status_code == 404
    assert (await client.patch(f"/v1/apps/{app}", json={"enabled": True})).status_code == 404
    with hub.store.client() as store:
        everything = b" ".join(store.hgetall("hub:{cfg}:endpoints"))  # pyright: ignore[reportArgumentType, reportUnknownArgumentType, reportUnknownVariableType]
        assert not any(one["id"].encode() in everything for one in made)
        assert not store.exists(keys.app_keys(app), keys.app_endpoints(app))
        record = store.hget("hub:{cfg}:apps", app)
        assert isinstance(record, bytes)
        assert signing["id"].encode() not in record
    # The id is taken for good: nobody comes by what the log still has.
    assert fault(await client.post("/v1/apps", json={"id": app})) == (409, "CONFLICT")
    for body in ({"app": app, "role": "admin"}, {"app": app, "scopes": ["events:read"]}):
        assert (await client.post("/v1/keys", json=body)).status_code in (404, 409)
    assert (await client.get(f"/v1/events/{sent['id']}")).status_code == 404


async def gone(hub: Hub, credential: str, index: int) -> bool:
    return await status(hub, credential, index, "/v1/poll?topic=a&wait=0") == 401


# -- signing keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_lets_its_owner_sign_for_the_app(
    hub: Hub, admin: httpx.AsyncClient, app: str, topic: str, algorithm: str
) -> None:
    added = await admin.post(f"/v1/apps/{app}/signing-keys", json={"public_key": pem(algorithm)})
    assert added.status_code == 201
    key = added.json()["data"]
    assert (key["algorithm"], key["secret"]) == (algorithm, None)
    claims = {"app": app, "exp": time.time() + 60, "sub": "ann", "hub": {"subscribe": [topic], "publish": [topic]}}
    for header in ({}, {"kid": key["id"]}):
        granted = jwt.encode(claims, private(algorithm), algorithm=algorithm, headers=header)
        async with WsClient.open(hub, key=granted, index=1) as ws:
            assert ws.connected["user"] == "ann"
            await ws.join(topic)
            assert (await ws.ask("broadcast", room=topic, data=1))["type"] == "ack"
    # The public key is in everybody's hands: it is no secret to sign by.
    forged = hmac_signed({"alg": "HS256", "kid": key["id"]}, claims, pem(algorithm).encode())
    assert await status(hub, forged, 0) == 401
    assert (await admin.get(f"/v1/apps/{app}/signing-keys")).json()["data"] == [
        {name: value for name, value in key.items() if name != "secret"}
    ]


async def test_a_token_for_a_service_opens_what_its_scopes_say(
    hub: Hub, admin: httpx.AsyncClient, app: str, topic: str
) -> None:
    secret = (await admin.post(f"/v1/apps/{app}/signing-keys", json={})).json()["data"]["secret"]
    claims = {"app": app, "exp": time.time() + 60, "scope": "events:publish admin profile"}
    async with hub.client(key=jwt.encode(claims, secret, algorithm="HS256")) as service:
        await publish(service, topic, 1)
        for path in ("/v1/events", "/v1/keys", "/v1/endpoints"):
            assert (await service.get(path)).status_code == 403
    limited = jwt.encode({**claims, "hub": {"publish": [f"{topic}.*"]}}, secret, algorithm="HS256")
    async with hub.client(key=limited) as service:
        await publish(service, f"{topic}.a", 1)
        batch = [{"topic": f"{topic}.a", "type": "a", "data": 1}, {"topic": topic, "type": "a", "data": 1}]
        refused = await service.post("/v1/events", json=batch)
        assert refused.status_code == 403
    assert len((await admin.get("/v1/events")).json()["data"]) == 2


async def test_deleting_a_signing_key_ends_its_tokens_everywhere_and_no_others(
    hub: Hub, admin: httpx.AsyncClient, app: str, topic: str
) -> None:
    old = (await admin.post(f"/v1/apps/{app}/signing-keys", json={})).json()["data"]
    before = (await admin.post("/v1/tokens", json={"subscribe": [topic]})).json()["data"]["token"]
    await admin.post(f"/v1/apps/{app}/signing-keys", json={"secret": "s" * 40})
    after = (await admin.post("/v1/tokens", json={"subscribe": [topic]})).json()["data"]["token"]
    assert jwt.get_unverified_header(before)["kid"] == old["id"]
    assert jwt.get_unverified_header(after)["kid"] != old["id"]
    async with WsClient.open(hub, key=before, index=1) as ws, WsClient.open(hub, key=after, index=1) as unharmed:
        began = time.monotonic()
        assert (await admin.delete(f"/v1/apps/{app}/signing-keys/{old['id']}")).status_code == 204
        assert await ws.closed() == 4001
        assert time.monotonic() - began < BOUND
        for index in (0, 1):
            await eventually(lambda i=index: gone(hub, before, i), "it is refused", BOUND)
        assert (await unharmed.ask("ping"))["type"] == "pong"
    assert await opens(hub, after, topic)
    assert (await admin.delete(f"/v1/apps/{app}/signing-keys/{old['id']}")).status_code == 404


async def test_a_signing_key_that_is_none_is_refused(admin: httpx.AsyncClient, app: str) -> None:
    path = f"/v1/apps/{app}/signing-keys"
    form = serialization.PrivateFormat.PKCS8
    secret_half = (
        private("ES256").private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    )
    for body, field in (({"secret": "short"}, "secret"), ({"secret": pem("RS256")}, "secret"),
                        ({"public_key": "nonsense"}, "public_key"), ({"public_key": secret_half}, "public_key"),
                        ({"public_key": pem("ES256"), "secret": "s"}, "secret"), ({"kid": "x"}, "kid")):  # fmt: skip
        answer = await admin.post(path, json=body)
        assert fault(answer) == (400, field)
        assert secret_half not in answer.text
    assert (await admin.get(path)).json()["data"] == []
    for _ in range(MAX_SIGNING_KEYS):
        assert (await admin.post(path, json={})).status_code == 201
    assert fault(await admin.post(path, json={})) == (409, "CONFLICT")


async def test_an_apps_tokens_must_be_of_its_issuer_and_for_its_audience(
    hub: Hub, admin: httpx.AsyncClient, app: str, topic: str
) -> None:
    secret = (await admin.post(f"/v1/apps/{app}/signing-keys", json={})).json()["data"]["secret"]
    good = {"app": app, "exp": time.time() + 60, "hub": {"subscribe": [topic]}, "iss": "me", "aud": "here"}
    bare = jwt.encode({**good, "aud": "elsewhere"}, secret, algorithm="HS256")
    assert await opens(hub, bare, topic)
    assert (await admin.patch(f"/v1/apps/{app}", json={"tokens": {"issuer": "me", "audience": "here"}})).is_success
    for index in (0, 1):
        await eventually(lambda i=index: gone(hub, bare, i), "the rule counts", BOUND)
    assert await opens(hub, jwt.encode(good, secret, algorithm="HS256"), topic)
    made = (await admin.post("/v1/tokens", json={"subscribe": [topic]})).json()["data"]["token"]
    assert await opens(hub, made, topic), "the hub's own tokens fit"


async def test_an_app_without_a_signing_key_takes_and_makes_no_tokens(
    hub: Hub, admin: httpx.AsyncClient, app: str
) -> None:
    answer = await admin.post("/v1/tokens", json={"subscribe": ["a"]})
    assert fault(answer) == (409, "CONFLICT")
    assert "signing-keys" in answer.json()["error"]["message"]
    assert await status(hub, token("ann", subscribe=["a"]), 0, "/v1/poll?topic=a&wait=0") == 200
    named = jwt.encode({"app": app, "exp": time.time() + 60}, "k" * 40, algorithm="HS256")
    assert await status(hub, named, 0) == 401
