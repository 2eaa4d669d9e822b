"""`POST /v1/portal`: what the credential in the link opens, of whom, and for how long."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest

from tests.support.hub import KEY, Hub, auth, free_port
from tests.support.waiting import eventually

APP = "portal-tenant"
SPAN = {"since": "2026-01-01T00:00:00Z"}


async def tenant(hub: Hub, app: str) -> str:
    """An admin key of an app that can sign tokens."""
    async with hub.client() as root:
        made = await root.post("/v1/keys", json={"app": app, "role": "admin"})
        key: str = made.json()["data"]["key"]
        if not (await root.get(f"/v1/apps/{app}/signing-keys")).json()["data"]:
            (await root.post(f"/v1/apps/{app}/signing-keys", json={})).raise_for_status()
        return key


@pytest.fixture
async def owner(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client(key=await tenant(hub, APP)) as client:
        yield client


async def link(client: httpx.AsyncClient, **given: Any) -> dict[str, Any]:
    answer = await client.post("/v1/portal", json=given)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["data"]


def token_of(made: dict[str, Any]) -> str:
    url: str = made["url"]
    return urlsplit(url).fragment.removeprefix("token=")


async def test_the_link_leads_to_this_hub_with_the_credential_in_its_fragment(
    hub: Hub, owner: httpx.AsyncClient
) -> None:
    made = await link(owner, ttl=60)
    address: str = made["url"]
    url = urlsplit(address)
    assert f"{url.scheme}://{url.netloc}" == hub.url()
    assert (url.path, url.query) == ("/portal", "")
    claims = jwt.decode(token_of(made), options={"verify_signature": False})
    assert (claims["app"], claims["scope"], claims["jti"]) == (APP, "endpoints:read endpoints:write", made["jti"])
    assert claims["exp"] - time.time() == pytest.approx(60, abs=5)
    assert made["expires_in"] == 60


async def test_it_opens_endpoints_and_deliveries_and_nothing_else(hub: Hub, owner: httpx.AsyncClient) -> None:
    async with hub.client(key=token_of(await link(owner))) as portal:
        body = {"url": f"http://127.0.0.1:{free_port()}/", "topics": ["a.b"], "description": "mine"}
        made = (await portal.post("/v1/endpoints", json=body)).json()["data"]
        at = f"/v1/endpoints/{made['id']}"
        sent = await portal.post(f"{at}/test")
        assert sent.status_code == 202
        delivery = f"/v1/deliveries/{sent.json()['data']['id']}"
        for path in ("/v1/endpoints", at, f"{at}/secret", f"{at}/stats", f"{at}/jobs", "/v1/deliveries", delivery,
                     "/v1/event-types", "/v1/stats"):  # fmt: skip
            assert (await portal.get(path)).status_code == 200, path
        for path, given in ((f"{at}/secret/rotate", {}), (f"{at}/recover", SPAN), (f"{at}/replay", SPAN)):
            assert (await portal.post(path, json=given)).is_success, path
        assert (await portal.post(f"{delivery}/cancel")).is_success
        assert (await portal.post(f"{delivery}/retry")).is_success
        assert (await portal.patch(at, json={"enabled": False})).json()["data"]["enabled"] is False
        assert (await portal.delete(at)).status_code == 204
        for path in ("/v1/events", "/v1/keys", "/v1/apps", "/v1/audit", "/v1/topics", "/v1/stream?topic=a.b",
                     "/v1/poll?topic=a.b&wait=0"):  # fmt: skip
            assert (await portal.get(path)).status_code == 403, path
        for path, given in (
            ("/v1/events", {"topic": "a.b", "type": "a.b", "data": 1}),
            ("/v1/keys", {"role": "operator"}),
            ("/v1/tokens", {"user": "ann"}),
            ("/v1/tokens/revoke", {"user": "ann"}),
            ("/v1/portal", {}),
        ):
            assert (await portal.post(path, json=given)).status_code == 403, path
        assert (await portal.put("/v1/event-types/a.b", json={"schema": False})).status_code == 403
        assert (await portal.delete("/v1/event-types/a.b")).status_code == 403
    done = [one for one in (await owner.get("/v1/audit")).json()["data"] if one["action"] == "POST /v1/endpoints"]
    assert done[0]["actor"].startswith("token:"), "the audit log says who it was"


async def test_it_is_another_apps_never(hub: Hub, owner: httpx.AsyncClient) -> None:
    body = {"url": f"http://127.0.0.1:{free_port()}/", "topics": ["a.b"], "description": "ours-alone"}
    made = (await owner.post("/v1/endpoints", json=body)).json()["data"]
    sent = (await owner.post(f"/v1/endpoints/{made['id']}/test")).json()["data"]
    async with hub.client(key=await tenant(hub, "portal-stranger")) as stranger:
        foreign = token_of(await link(stranger))
        assert (await stranger.post("/v1/portal", json={"app": APP})).status_code == 404
    async with hub.client(key=foreign) as portal:
        at = f"/v1/endpoints/{made['id']}"
        for method, path in (
            ("GET", at), ("GET", f"{at}/secret"), ("GET", f"{at}/stats"), ("PATCH", at), ("DELETE", at),
            ("POST", f"{at}/test"), ("POST", f"{at}/secret/rotate"), ("GET", f"/v1/deliveries/{sent['id']}"),
            ("POST", f"/v1/deliveries/{sent['id']}/cancel"),
        ):  # fmt: skip
            answer = await portal.request(method, path, json={} if method in ("POST", "PATCH") else None)
            assert answer.status_code == 404, (method, path, answer.text)
        for path in ("/v1/endpoints", "/v1/deliveries", f"/v1/deliveries?endpoint={made['id']}"):
            answer = await portal.get(path)
            assert answer.status_code in (200, 404)
            assert "ours-alone" not in answer.text
            assert sent["id"] not in answer.text
    assert (await owner.get(f"/v1/endpoints/{made['id']}")).json()["data"]["enabled"] is True


async def test_who_runs_the_deployment_makes_links_for_every_app(hub: Hub, client: httpx.AsyncClient) -> None:
    await tenant(hub, APP)
    async with hub.client(key=token_of(await link(client, app=APP))) as portal:
        assert (await portal.get("/v1/stats")).json()["data"]["app"] == APP
    assert (await client.post("/v1/portal", json={"app": "nobody-there"})).status_code == 404
    await client.post("/v1/apps", json={"id": "without-a-key"})
    refused = await client.post("/v1/portal", json={"app": "without-a-key"})
    assert refused.status_code == 409
    assert "/v1/apps/without-a-key/signing-keys" in refused.json()["error"]["message"]


async def test_it_ends_when_it_is_revoked_and_by_itself(hub: Hub, owner: httpx.AsyncClient) -> None:
    made, short = await link(owner), await link(owner, ttl=1)
    async with httpx.AsyncClient(base_url=hub.url("", 1)) as anyone:

        async def refused(credential: str) -> bool:
            return (await anyone.get("/v1/endpoints", headers=auth(credential))).status_code == 401

        assert not await refused(token_of(made))
        (await owner.post("/v1/tokens/revoke", json={"jti": made["jti"]})).raise_for_status()
        assert await refused(token_of(made))
        await eventually(lambda: refused(token_of(short)), "the link has ended")


async def test_the_link_begins_with_the_public_url_whatever_host_was_asked() -> None:
    with Hub(HUB_PUBLIC_URL="https://hub.example") as public:
        async with public.client() as root:
            answer = await root.post("/v1/portal", json={}, headers={"host": "evil.example"})
            assert answer.json()["data"]["url"].startswith("https://hub.example/portal#token=")


@pytest.mark.parametrize("ttl", [0, -1, 604801, "soon", 1.5])
async def test_a_wrong_time_is_refused_by_its_name(owner: httpx.AsyncClient, ttl: Any) -> None:
    answer = await owner.post("/v1/portal", json={"ttl": ttl})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["field"] == "ttl"


async def test_only_an_admin_makes_links_and_no_log_has_their_credential(hub: Hub, owner: httpx.AsyncClient) -> None:
    operator = (await owner.post("/v1/keys", json={"role": "operator"})).json()["data"]["key"]
    assert (await owner.post("/v1/portal", headers=auth(operator), json={})).status_code == 403
    secret = token_of(await link(owner))
    async with hub.client(key=secret) as portal:
        assert (await portal.get("/v1/endpoints")).status_code == 200
    for process in (*hub.webs, *hub.workers):
        assert secret not in process.log
        assert secret.rpartition(".")[2] not in process.log
    async with hub.client(key=KEY) as root:
        assert secret not in (await root.get("/v1/audit")).text
    assert secret not in (await owner.get("/v1/audit")).text
