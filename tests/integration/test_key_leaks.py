"""Keys in the store: each has a time to live or is listed as one that stays, and is spelled in one module."""

import inspect
from fnmatch import fnmatchcase
from typing import Any, cast

import httpx
import redis

from hub.store import keys
from tests.support.hub import Hub, auth, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually


class _Any:
    """Stands for any part of a key."""

    def __format__(self, spec: str) -> str:
        return "*"


def spelled() -> list[str]:
    """The pattern of each key that the module spells."""
    functions = [
        function
        for name, function in inspect.getmembers(keys, inspect.isfunction)
        if inspect.signature(function).return_annotation is str and not name.startswith("_")
    ]
    made = [function(*[_Any()] * len(inspect.signature(function).parameters)) for function in functions]
    constants = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
    return [one for one in (*made, *constants) if one.startswith("hub:")]


def is_like(key: str, patterns: tuple[str, ...] | list[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


async def run_everything(hub: Hub, client: httpx.AsyncClient, site: Receiver) -> None:
    """Every path that writes to the store."""
    good = (await client.post("/v1/endpoints", json={"url": site.url("/good"), "topics": ["orders.*"]})).json()["data"]
    bad = (await client.post("/v1/endpoints", json={"url": site.url("/bad"), "topics": ["orders.*"]})).json()["data"]
    gone = (await client.post("/v1/endpoints", json={"url": site.url("/good"), "topics": ["orders.*"]})).json()["data"]
    site.answers["/bad"] = [answer(500, b"no")] * 1000
    async with WsClient.open(hub) as ws, SseClient.open(hub, "topic=orders.**") as sse:
        await ws.join("orders.1")
        await sse.event()
        await publish(client, "orders.1", 1, id="order-1")
        await publish(client, "orders.1", 1, id="order-1")
        await publish(client, "orders.1", "typing", ephemeral=True)
        batch = [{"topic": f"orders.{n % 5}", "type": "order.created", "data": n} for n in range(20)]
        headers = {"idempotency-key": "batch-1"}
        for _ in range(2):
            assert (await client.post("/v1/events", json=batch, headers=headers)).status_code == 202
        assert (await ws.ask("broadcast", room="orders.1", data=1))["type"] == "ack"
        assert (await ws.ask("broadcast", room="orders.1", data=1, ephemeral=True))["type"] == "ack"
        await sse.data(23)
        async with WsClient.open(hub, key=token("ann", subscribe=["orders.*"], presence=["orders.*"])) as ann:
            assert (await ann.join("orders.1", presence=True))["count"] == 1
    (await client.delete(f"/v1/endpoints/{gone['id']}")).raise_for_status()
    (await client.patch(f"/v1/endpoints/{good['id']}", json={"description": "still here"})).raise_for_status()
    await site.until(22, "/good")
    await eventually(lambda: exhausted(client, bad["id"], 22), "the bad endpoint's deliveries are exhausted")
    (await client.post(f"/v1/endpoints/{good['id']}/test")).raise_for_status()
    await site.until(23, "/good")
    site.answers.pop("/bad")
    span = {"since": "2026-01-01T00:00:00Z"}
    for kind in ("recover", "replay"):
        job = (await client.post(f"/v1/endpoints/{bad['id']}/{kind}", json=span)).json()["data"]["id"]
        await eventually(lambda job=job: completed(client, job), "the job is done")
    made = (await client.post("/v1/keys", json={"scopes": ["events:read"], "name": "reader"})).json()["data"]
    await client.get("/v1/events", headers=auth(made["key"]))
    (await client.delete(f"/v1/keys/{made['id']}")).raise_for_status()
    await client.post("/v1/keys", json={"scopes": ["events:read"], "app": "other"})
    await tenants(client)
    await client.post("/v1/tokens", json={"user": "ann", "subscribe": ["orders.**"]})
    (await client.post("/v1/tokens/revoke", json={"user": "carl"})).raise_for_status()
    (await client.post("/v1/tickets", json={"user": "ann", "subscribe": ["orders.**"]})).raise_for_status()
    (await client.get("/v1/poll?topic=orders.**&wait=0")).raise_for_status()


async def completed(client: httpx.AsyncClient, job: str) -> bool:
    return (await client.get(f"/v1/jobs/{job}")).json()["data"]["status"] == "completed"


async def tenants(client: httpx.AsyncClient) -> None:
    """An app that comes and goes, and a grant of a key."""
    made = (await client.post("/v1/keys", json={"role": "admin", "app": "gone"})).json()["data"]
    (await client.post("/v1/apps/gone/signing-keys", json={})).raise_for_status()
    form, shown = {"grant_type": "client_credentials"}, (made["id"], made["key"])
    (await client.post("/v1/oauth/token", data=form, auth=shown)).raise_for_status()
    (await client.delete("/v1/apps/gone")).raise_for_status()


async def exhausted(client: httpx.AsyncClient, endpoint: str, count: int) -> bool:
    query = {"endpoint": endpoint, "status": "exhausted", "limit": "500"}
    return len((await client.get("/v1/deliveries", params=query)).json()["data"]) >= count


def left_over(store: redis.Redis) -> dict[str, int]:
    """Every key with its time to live in seconds, -1 without one."""
    found: list[bytes] = cast("Any", store).keys()
    return {key.decode(): store.ttl(key) for key in found}


async def test_no_key_stays_for_ever_unless_it_is_listed_and_none_is_spelled_elsewhere() -> None:
    with Hub(workers=1, HUB_RETRY_SCHEDULE="0.05", HUB_PARTITIONS="2", HUB_DELIVERY_PARTITIONS="3") as hub:
        async with hub.client() as client, Receiver() as site:
            await run_everything(hub, client, site)
        with hub.store.client() as store:
            # An exhausted delivery is an operational event: it leaves the outbox for the log.
            await eventually(lambda: operational(store) >= 22, "the operational events are in the log")
            found = left_over(store)
            for_ever = [key for key, ttl in found.items() if ttl == -1 and not is_like(key, keys.PERMANENT)]
            assert for_ever == []
            foreign = [key for key in found if not is_like(key, spelled())]
            assert foreign == []
            assert len(found) > 40
            written = [pattern for pattern in spelled() if any(fnmatchcase(key, pattern) for key in found)]
            assert {keys.log(0).replace("0", "*"), keys.API_KEYS, keys.CONTROL, keys.PRESENCE} <= set(written)
            assert {keys.revoked("*", "*"), keys.ticket("*")} <= set(written)
            # All that an app owned went with it, but that there was one; grants end by themselves.
            assert {keys.API_KEYS, keys.APPS, keys.ENDING_APPS, keys.grant("*"), keys.ACCESS_VERSION} <= set(written)
            assert keys.app_keys("gone") not in found
            assert all(ttl > 0 for key, ttl in found.items() if is_like(key, [keys.grant("*")]))
            kinds = {key.split(":")[2] for key in found if key.startswith("hub:{d")}
            assert {"o", "hist", "applied", "j", "q", "s"} <= kinds


def operational(store: redis.Redis) -> int:
    return sum(store.xlen(keys.log(partition)) for partition in range(2)) - 22


def test_every_key_that_stays_is_spelled_by_the_module() -> None:
    examples = [one.replace("*", "1") for one in spelled()]
    unspelled = [pattern for pattern in (*keys.PERMANENT, *keys.WHILE_OWED)
                 if not any(fnmatchcase(example, pattern) for example in examples)]  # fmt: skip
    assert unspelled == []
