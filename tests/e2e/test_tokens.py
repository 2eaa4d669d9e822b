"""Tokens: which are refused, what the others open, and that no credential is ever in a log."""

import asyncio
import base64
import functools
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.hub import JWT_SECRET, Hub, auth, publish
from tests.support.live import SseClient, WsClient, closed_with
from tests.support.receiver import Receiver
from tests.support.waiting import eventually


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forged(header: Any, claims: Any, secret: str = JWT_SECRET, digest_name: str = "sha256") -> str:
    """A token with any header, signed by HMAC whatever the header says."""
    text = f"{encoded(header)}.{encoded(claims)}"
    digest = hmac.new(secret.encode(), text.encode(), digest_name).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def wrong_tokens() -> dict[str, str]:
    good: dict[str, Any] = {"exp": int(time.time()) + 600, "sub": "ann", "hub": {"subscribe": ["**"]}}
    without_exp = {name: value for name, value in good.items() if name != "exp"}
    header = {"alg": "HS256", "typ": "JWT"}
    return {
        "no algorithm": f"{encoded({'alg': 'none'})}.{encoded(good)}.",
        "none and a signature": forged({"alg": "none"}, good),
        "another HMAC": forged({"alg": "HS512"}, good, digest_name="sha512"),
        "RS256": jwt.encode(good, rsa_key(), algorithm="RS256"),
        "RS256 in name": forged({"alg": "RS256"}, good),
        "no header": forged({}, good),
        "a key in the header": forged({**header, "jwk": {"kty": "oct", "k": "AAAA"}}, good, "AAAA" * 10),
        "a nested header": f"{base64.urlsafe_b64encode(b'[' * 5700).decode()}.e30.AAAA",
        "another secret": jwt.encode(good, JWT_SECRET[::-1], algorithm="HS256"),
        "a cut signature": forged(header, good)[:-4],
        "no end": forged(header, without_exp),
        "an end in the past": forged(header, {**good, "exp": time.time() - 5}),
        "an end that is no number": forged(header, {**good, "exp": "soon"}),
        "an endless end": forged(header, {**good, "exp": float("inf")}),
        "not yet": forged(header, {**good, "nbf": int(time.time()) + 600}),
        "another app": forged(header, {**good, "app": "other"}),
        "an app that is no text": forged(header, {**good, "app": ["default"]}),
        "a user that is no text": forged(header, {**good, "sub": 7}),
        "a hub claim that is no object": forged(header, {**good, "hub": ["orders.**"]}),
        "patterns that are no list": forged(header, {**good, "hub": {"subscribe": "orders.**"}}),
        "a pattern that is none": forged(header, {**good, "hub": {"subscribe": ["a..b"]}}),
        "claims that are no object": forged(header, ["exp"]),
    }


@pytest.mark.parametrize("name", list(wrong_tokens()))
async def test_a_token_that_is_not_right_opens_nothing(hub: Hub, name: str) -> None:
    wrong = wrong_tokens()[name]
    before = hub.webs[0].log.count("request_failed")
    async with httpx.AsyncClient() as browser:
        for headers, query in ((auth(wrong), ""), ({}, f"&token={wrong}")):
            refused = await browser.get(hub.url(f"/v1/stream?topic=a{query}"), headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
            assert wrong not in refused.text
    assert await closed_with(hub, f"?token={wrong}") == 4001
    assert await closed_with(hub, "", json.dumps({"type": "authenticate", "token": wrong})) == 4001
    assert hub.webs[0].log.count("request_failed") == before


async def test_a_websocket_whose_token_is_too_long_for_a_url_is_refused_at_once(hub: Hub) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(hub.ws_url() + "?token=" + "x" * 9000):
            pass
    assert refused.value.response.status_code == 431


async def test_a_token_made_by_the_hub_opens_what_it_grants(hub: Hub, client: httpx.AsyncClient, topic: str) -> None:
    body = {"user": "ann", "subscribe": [f"{topic}.*"], "publish": [f"{topic}.chat"], "ttl": 60}
    made = (await client.post("/v1/tokens", json=body)).json()["data"]
    assert 58 <= made["expires_in"] <= 60
    async with WsClient.open(hub, key=None, query=f"?token={made['token']}", index=1) as ws:
        assert ws.connected["user"] == "ann"
        await ws.join(f"{topic}.chat")
        assert (await ws.ask("broadcast", room=f"{topic}.chat", data=1))["type"] == "ack"
        assert (await ws.ask("broadcast", room=f"{topic}.news", data=1))["code"] == "FORBIDDEN"
        assert (await ws.ask("join_room", room=topic))["code"] == "FORBIDDEN"


@pytest.fixture(scope="module")
def strict() -> Iterator[Hub]:
    """A hub with an audience and a bootstrap key that looks like a token, whose log is as loud as can be."""
    with Hub(
        workers=1, HUB_JWT_AUDIENCE="hub.example", HUB_BOOTSTRAP_KEY="boot.strap.key-0123456789", HUB_LOG_LEVEL="debug"
    ) as running:
        yield running


@pytest.fixture
async def admin(strict: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with strict.client(key="boot.strap.key-0123456789") as opened:
        yield opened


async def test_a_token_must_be_meant_for_the_audience(strict: Hub, admin: httpx.AsyncClient) -> None:
    claims = {"exp": int(time.time()) + 60, "hub": {"subscribe": ["**"]}}
    for audience in (None, "elsewhere", ["elsewhere"], 7, []):
        given = forged({"alg": "HS256"}, claims if audience is None else {**claims, "aud": audience})
        assert await closed_with(strict, f"?token={given}") == 4001, audience
    for audience in ("hub.example", ["elsewhere", "hub.example"]):
        given = jwt.encode({**claims, "aud": audience}, JWT_SECRET, algorithm="HS256")
        async with WsClient.open(strict, key=None, query=f"?token={given}") as ws:
            await ws.join("a")
    made = (await admin.post("/v1/tokens", json={"subscribe": ["a"]})).json()["data"]["token"]
    async with WsClient.open(strict, key=None, query=f"?token={made}") as ws:
        await ws.join("a")


async def test_a_bootstrap_key_with_dots_is_no_token(strict: Hub) -> None:
    async with WsClient.open(strict, key="boot.strap.key-0123456789") as ws:
        await ws.join("a")
    async with SseClient.open(strict, "topic=a", key="boot.strap.key-0123456789") as sse:
        await sse.event()


# -- logs --------------------------------------------------------------------------------------------------------------


async def test_nothing_secret_is_in_the_logs(strict: Hub, admin: httpx.AsyncClient) -> None:
    boot = "boot.strap.key-0123456789"
    made = (await admin.post("/v1/keys", json={"scopes": ["events:publish", "events:subscribe"]})).json()["data"]
    granted = (await admin.post("/v1/tokens", json={"user": "ann", "subscribe": ["**"]})).json()["data"]["token"]
    wrong = forged({"alg": "HS256"}, {"exp": 1, "sub": "bob"})
    async with Receiver() as site:
        site.delay = 0.01
        endpoint = {"url": site.url("/hook"), "topics": ["room.a"], "headers": {"x-partner": "partner-secret-42"}}
        hook = (await admin.post("/v1/endpoints", json=endpoint)).json()["data"]
        await admin.get(f"/v1/endpoints/{hook['id']}/secret")
        async with strict.client(key=made["key"]) as publisher:
            sent = await publish(publisher, "room.a", {"card": "payload-4111"})
            await publisher.post("/v1/events", content=b'{"topic": "room.a", "data": "payload-4111"')
        await site.until(1)
        async with WsClient.open(strict, key=None, query=f"?token={granted}") as ws:
            await ws.join("room.a", after=sent["cursor"])
            await ws.ask("authenticate", token=granted)
        async with httpx.AsyncClient() as browser:
            for given in (granted, wrong, made["key"], boot):
                url = strict.url(f"/v1/stream?topic=room.a&token={given}")
                async with browser.stream("GET", url) as response:
                    assert response.status_code == (401 if given == wrong else 200)
            await browser.get(strict.url(f"/v1/events?token={boot}"), headers=auth(wrong))
        await closed_with(strict, f"?token={wrong}")
        await closed_with(strict, "", json.dumps({"type": "authenticate", "token": wrong}))
        await admin.delete(f"/v1/keys/{made['id']}")
        async with strict.client(key=made["key"]) as revoked:
            await revoked.get("/v1/events")
    web, worker = strict.webs[0], strict.workers[0]
    await eventually(lambda: web.log.count('"path":"/v1/stream"') >= 4, "the streams are logged")
    await eventually(lambda: hook["id"] in worker.log, "the attempt is logged")
    code = await asyncio.to_thread(web.terminate)
    assert code == 0
    secrets = [boot, made["key"], granted, granted.rpartition(".")[2], wrong, JWT_SECRET, hook["secret"],
               hook["secret"].removeprefix("whsec_"), base64.b64encode(b"k" * 32).decode(), "partner-secret-42",
               "payload-4111", "token=", "whsec_", "Bearer "]  # fmt: skip
    for process in (web, worker):
        assert [secret for secret in secrets if secret in process.log] == []
        assert process.log.count("\n") >= 3
