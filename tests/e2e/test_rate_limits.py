"""Rate limits over HTTP: shared by all processes, told in every answer, refused with what helps."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from hub.app import OPERATIONS
from hub.core.limits import parse_plans
from hub.settings import SettingsError
from hub.web.limiting import check_routes
from tests.support.hub import Hub, free_port, token
from tests.support.waiting import eventually

PLANS = (
    "default: app=100000/s; "
    "small: key=5/h sliding, key GET /v1/events=2/h fixed; "
    "users: user=3/h sliding; "
    "addresses: ip=3/h sliding; "
    "large: app=300/d fixed; "
    "anonymous: ip=4/h sliding"
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def limited() -> Iterator[Hub]:
    with Hub(web=2, HUB_PLANS=PLANS, HUB_TRUSTED_PROXIES="127.0.0.0/8") as running:
        yield running


@pytest.fixture
async def admin(limited: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with limited.client() as client:
        yield client


async def key_on(admin: httpx.AsyncClient, plan: str) -> tuple[str, str]:
    """A new app on a plan, and a key of it."""
    app = f"app{next(_numbers)}"
    made = await admin.post("/v1/apps", json={"id": app, "plan": plan})
    assert made.json()["data"]["plan"] == plan
    return app, await key_of(admin, app)


async def key_of(admin: httpx.AsyncClient, app: str) -> str:
    scopes = ["events:publish", "events:read", "admin"]
    return (await admin.post("/v1/keys", json={"app": app, "scopes": scopes})).json()["data"]["key"]


async def test_answers_say_how_the_limits_stand_and_a_refusal_which_one_and_until_when(
    limited: Hub, admin: httpx.AsyncClient
) -> None:
    _, key = await key_on(admin, "small")
    own, whole = 'limit="key-3600s GET /v1/events"', 'limit="key-3600s"'
    counted = ((own, "allowed"), (own, "refused"), (whole, "refused"))
    before = [await _decided(admin, *one) for one in counted]
    async with limited.client(0, key) as one, limited.client(1, key) as other:
        first = await one.get("/v1/events")
        assert first.headers["ratelimit-policy"] == '"key-3600s";q=5;w=3600, "key-3600s GET /v1/events";q=2;w=3600'
        all_of_it, for_route = (item.split(";") for item in first.headers["ratelimit"].split(", "))
        assert all_of_it[:2] == ['"key-3600s"', "r=4"]
        assert for_route[:2] == ['"key-3600s GET /v1/events"', "r=1"]
        assert first.headers["x-ratelimit-limit"] == "2"
        assert first.headers["x-ratelimit-remaining"] == "1"
        assert time.time() < int(first.headers["x-ratelimit-reset"]) <= time.time() + 3601
        assert (await other.get("/v1/events")).status_code == 200
        refused = await one.get("/v1/events")
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert error["code"] == "RATE_LIMITED"
        assert error["details"] == [{"field": "limit", "message": "key-3600s GET /v1/events"}]
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        for _ in range(3):  # what was refused didn't count for the other rule
            assert (await other.post("/v1/events", json={"topic": "a.b", "type": "c", "data": 1})).status_code == 202
        assert (await one.post("/v1/events", json={"topic": "a.b", "type": "c", "data": 1})).status_code == 429
    after = [await _decided(admin, *one) for one in counted]
    assert [late - early for late, early in zip(after, before, strict=True)] == [1, 1, 1], "on the first process"


async def test_each_key_has_a_count_of_its_own(limited: Hub, admin: httpx.AsyncClient) -> None:
    app, key = await key_on(admin, "small")
    for one in (key, await key_of(admin, app)):
        async with limited.client(0, one) as client:
            assert [await _status(client) for _ in range(6)] == [202] * 5 + [429]


async def test_users_are_counted_apart(limited: Hub, admin: httpx.AsyncClient) -> None:
    await admin.patch("/v1/apps/default", json={"plan": "users"})
    try:
        for user in ("ann", "bob"):
            async with limited.client(0, token(user, subscribe=["a.*"])) as client:
                found = [(await client.get("/v1/poll?topic=a.b&wait=0")).status_code for _ in range(4)]
            assert found == [200, 200, 200, 429]
        assert await _status(admin) == 202  # a key is no user
    finally:
        await admin.patch("/v1/apps/default", json={"plan": None})


async def test_an_address_is_the_one_that_a_trusted_proxy_saw(limited: Hub, admin: httpx.AsyncClient) -> None:
    _, key = await key_on(admin, "addresses")
    async with limited.client(0, key) as client:
        for forwarded in ("198.51.100.1", "10.9.9.9, 198.51.100.2"):  # the first part is what a client may write
            headers = {"x-forwarded-for": forwarded}
            assert [await _status(client, headers) for _ in range(4)] == [202, 202, 202, 429]
        assert await _status(client, {"x-forwarded-for": "10.1.1.1, 198.51.100.2"}) == 429
        networks = [f"2001:db8:0:1::{n}" for n in range(1, 5)]
        assert [await _status(client, {"x-forwarded-for": one}) for one in networks] == [202, 202, 202, 429]


async def test_wrong_credentials_are_limited_by_address_and_health_never(limited: Hub) -> None:
    async with limited.client(0, "wrong") as client:
        headers = {"x-forwarded-for": "198.51.100.77"}
        assert [(await client.get("/v1/events", headers=headers)).status_code for _ in range(5)] == [401] * 4 + [429]
        assert [(await client.get("/health/live", headers=headers)).status_code for _ in range(6)] == [200] * 6


async def test_under_load_the_processes_together_admit_the_limit_and_at_most_a_hundredth_each_beyond(
    limited: Hub, admin: httpx.AsyncClient
) -> None:
    _, key = await key_on(admin, "large")
    statuses: list[int] = []

    async def press(index: int) -> None:
        async with limited.client(index, key) as client:
            while 429 not in statuses[-20:]:
                batch = [{"topic": "a.b", "type": "c", "data": 1}]
                response = await client.post("/v1/events", json=batch)
                statuses.append(response.status_code)

    await asyncio.gather(*(press(n % 2) for n in range(16)))
    assert set(statuses) == {202, 429}
    assert 300 <= statuses.count(202) <= 300 * 1.02


async def test_a_plan_counts_at_once_everywhere_and_is_the_deployments_to_give(
    limited: Hub, admin: httpx.AsyncClient
) -> None:
    app, key = await key_on(admin, "small")
    async with limited.client(1, key) as client:
        own = await client.patch(f"/v1/apps/{app}", json={"plan": "large"})
        assert own.status_code == 403
        assert (await admin.patch(f"/v1/apps/{app}", json={"plan": "large"})).status_code == 200

        async def policy() -> bool:
            answer = await client.get("/v1/events")
            return answer.headers["ratelimit-policy"] == '"app-86400s";q=300;w=86400'

        await eventually(policy, "the other plan counts", 2)
    for plan in ("huge", "anonymous"):
        wrong = await admin.patch(f"/v1/apps/{app}", json={"plan": plan})
        assert wrong.status_code == 400
        assert "default, small" in wrong.json()["error"]["message"]


async def test_an_app_whose_plan_is_gone_is_on_the_default_one() -> None:
    with Hub(HUB_PLANS="default: app=50/h; gone: app=70/h") as hub:
        async with hub.client() as admin:
            _, key = await key_on(admin, "gone")
        hub.environment["HUB_PLANS"] = "default: app=60/h"
        hub.restart_web()
        async with hub.client(key=key) as client:
            assert (await client.get("/v1/events")).headers["ratelimit-policy"] == '"app-3600s";q=60;w=3600'


async def test_without_a_store_limits_open_or_close_as_was_chosen() -> None:
    with Hub(HUB_PLANS="anonymous: ip=5/h", HUB_METRICS_KEY="key-of-the-scraper") as hub:
        hub.environment["HUB_LIMITS_FAIL"] = "closed"
        hub.ports.append(free_port())
        hub.webs.append(hub.start_web(hub.ports[1]))
        hub.until_ready(1)
        async with hub.client(0) as opened, hub.client(1) as closed:
            # An answer that takes no store: only the limit asks it.
            assert [await _tries_oauth(opened), await _tries_oauth(closed)] == [401, 401]
            hub.store.kill()
            assert [await _tries_oauth(opened) for _ in range(6)] == [401] * 6
            assert await _tries_oauth(closed) == 503
        async with hub.client(0, "key-of-the-scraper") as scraper:
            assert await _decided(scraper, 'limit="ip-3600s"', "unchecked") == 6
            assert await _decided(scraper, 'limit="ip-3600s"', "allowed") == 1


def test_a_rule_for_no_operation_is_refused_at_the_start() -> None:
    check_routes(parse_plans("default: key PATCH /v1/endpoints/{id}=5/h"), OPERATIONS)
    for route in ("POST /v1/event", "GET /health/live", "PUT /v1/events"):
        with pytest.raises(SettingsError, match=f"HUB_PLANS names '{route}'"):
            check_routes(parse_plans(f"default: key {route}=5/h"), OPERATIONS)


async def _decided(client: httpx.AsyncClient, limit: str, result: str) -> float:
    """How many decisions of a limit the process counted."""
    page = (await client.get("/metrics")).text.splitlines()
    found = [line for line in page if line.startswith("hub_rate_limit_decisions_total{") and limit in line]
    return sum(float(line.rpartition(" ")[2]) for line in found if f'result="{result}"' in line)


async def _tries_oauth(client: httpx.AsyncClient) -> int:
    return (await client.post("/v1/oauth/token", data={"grant_type": "client_credentials"})).status_code


async def _status(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> int:
    event: dict[str, Any] = {"topic": "a.b", "type": "c", "data": 1}
    return (await client.post("/v1/events", json=event, headers=headers)).status_code
