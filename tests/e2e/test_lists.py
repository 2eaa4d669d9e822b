"""Every list goes both ways by the same cursors: on to its end and back to its beginning, whatever is added or removed
meanwhile."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from hub.app import OPERATIONS
from tests.support.hub import Hub
from tests.support.live import WsClient
from tests.support.waiting import eventually

COUNT = 7
_numbers = itertools.count(1)


class Tenant(NamedTuple):
    """An app with some of everything that is listed."""

    id: str
    endpoint: str
    client: httpx.AsyncClient
    operator: httpx.AsyncClient

    def path(self, path: str) -> str:
        return path.replace("{id}", self.id if path.startswith("/v1/apps") else self.endpoint)

    async def names(self, path: str, **query: Any) -> list[str]:
        return names(await self.page(path, **query))

    async def page(self, path: str, **query: Any) -> dict[str, Any]:
        client = self.operator if path == "/v1/apps" else self.client
        answer = await client.get(self.path(path), params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


def names(page: dict[str, Any]) -> list[str]:
    """What a page lists, without what changes meanwhile, as a delivery's attempts do."""
    return [one.get("id") or one.get("topic") or one["type"] for one in page["data"]]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """One of its own: a list of events that comes to other apps' may end in a page that found none of its own."""
    with Hub(web=1, workers=1) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(hub: Hub) -> AsyncIterator[Tenant]:
    id = f"lists-{next(_numbers)}"
    async with contextlib.AsyncExitStack() as stack:
        operator = await stack.enter_async_context(hub.client())
        for name in (id, *(f"{id}-{n}" for n in range(COUNT - 1))):
            await operator.post("/v1/apps", json={"id": name})
        key = (await operator.post("/v1/keys", json={"app": id, "role": "admin"})).json()["data"]["key"]
        client = await stack.enter_async_context(hub.client(key=key))
        one = Tenant(id, await filled(client, id), client, operator)
        granted = await client.post("/v1/tokens", json={"user": "ann", "subscribe": ["live.*"]})
        badge = granted.json()["data"]["token"]
        for n in range(COUNT):
            await (await stack.enter_async_context(WsClient.open(hub, key=badge))).join(f"live.{n}")
        await eventually(lambda: has(one, "/v1/deliveries"), "all is dispatched")
        await eventually(lambda: has(one, "/v1/topics"), "all are in their topics")
        yield one
        for name in (id, *(f"{id}-{n}" for n in range(COUNT - 1))):
            await operator.delete(f"/v1/apps/{name}")


async def filled(client: httpx.AsyncClient, app: str) -> str:
    """Make some of each; returns an endpoint that is owed events and has jobs."""
    ids: list[str] = []
    for n in range(COUNT):
        body = {"url": "http://127.0.0.1:9/hook", "types": [f"some.{n}"], "enabled": n % 2 == 0}
        ids.append((await client.post("/v1/endpoints", json=body)).json()["data"]["id"])
        await client.put(f"/v1/event-types/some.{n}", json={"description": "one"})
        await client.post("/v1/keys", json={"role": "publisher", "name": f"k{n}"})
        await client.post(f"/v1/apps/{app}/signing-keys", json={})
    await client.patch(f"/v1/endpoints/{ids[0]}", json={"types": ["page.*"]})
    for n in range(COUNT):
        await client.post("/v1/events", json={"topic": f"pages.{n % 2}", "type": "page.made", "data": n})
    for _ in range(2):
        span = {"since": "2026-01-31T08:00:00Z", "until": "2026-01-31T08:00:01Z"}
        answer = await client.post(f"/v1/endpoints/{ids[0]}/replay", json=span)
        assert answer.status_code == 202, answer.text
    return ids[0]


async def has(tenant: Tenant, path: str) -> bool:
    return len((await tenant.page(path, limit=100))["data"]) >= COUNT


LISTS = sorted({one.path for one in OPERATIONS if one.is_list and one.path != "/v1/poll"})
ORDERED = ("/v1/apps", "/v1/audit", "/v1/deliveries", "/v1/endpoints", "/v1/events", "/v1/keys")
ways = pytest.mark.parametrize(
    ("path", "order"),
    [(path, None) for path in LISTS] + [(path, order) for path in ORDERED for order in ("asc", "desc")],
)


async def walked(tenant: Tenant, path: str, limit: int, query: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The pages there, and those back, in the order in which they were read."""
    log_back = path == "/v1/events" and query.get("order") == "desc"  # there a cursor is a place in the log
    on, back = ("before", "after") if log_back else ("after", "before")
    there = [await tenant.page(path, limit=limit, **query)]
    while (cursor := there[-1]["pagination"]["next_cursor"]) is not None:
        there.append(await tenant.page(path, limit=limit, **query, **{on: cursor}))
    returned = [there[-1]]
    while (cursor := returned[-1]["pagination"]["prev_cursor"]) is not None:
        returned.append(await tenant.page(path, limit=limit, **query, **{back: cursor}))
    return there, returned


@ways
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_list_goes_on_to_its_end_and_back_by_the_same_pages(
    tenant: Tenant, path: str, order: str | None, limit: int
) -> None:
    query = {} if order is None else {"order": order}
    whole = await tenant.names(path, limit=500, **query)
    there, back = await walked(tenant, path, limit, query)
    assert [name for page in there for name in names(page)] == whole
    assert len(there) == -(-len(whole) // limit), "the last full page is the end"
    assert list(map(names, back)) == list(map(names, reversed(there)))
    assert [page["pagination"]["has_more"] for page in there] == [True] * (len(there) - 1) + [False]
    assert there[0]["pagination"]["prev_cursor"] is None


@pytest.mark.parametrize("path", ORDERED)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_two_orders_are_each_others_reverse(tenant: Tenant, path: str) -> None:
    up, down = [await tenant.names(path, limit=500, order=order) for order in ("asc", "desc")]
    assert len(up) >= COUNT
    assert up == down[::-1]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_added_or_removed_meanwhile_shifts_no_page(tenant: Tenant) -> None:
    for n in range(6):
        await tenant.client.put(f"/v1/event-types/turn.{n * 2}", json={})
    start = "event-types:some.~"
    first = await tenant.page("/v1/event-types", limit=2, after=start)
    second = await tenant.page("/v1/event-types", limit=2, after=first["pagination"]["next_cursor"])
    types = names(first) + names(second)
    await tenant.client.delete(f"/v1/event-types/{types[1]}")  # the one that both cursors stand on
    await tenant.client.put("/v1/event-types/turn.1", json={})
    await tenant.client.delete(f"/v1/event-types/{types[2]}")
    again = await tenant.page("/v1/event-types", limit=2, after=first["pagination"]["next_cursor"])
    assert names(again)[0] == types[3]
    back = await tenant.page("/v1/event-types", limit=2, before=second["pagination"]["prev_cursor"])
    assert names(back) == [types[0], "turn.1"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("field", ["after", "before"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_cursor_that_is_none_or_anothers_is_refused_by_name(tenant: Tenant, path: str, field: str) -> None:
    others = ["events" if path != "/v1/events" else "keys", "keys" if path != "/v1/keys" else "apps"]
    pages = [await tenant.page(f"/v1/{other}", limit=1) for other in others]
    for cursor in ("nonsense", "keys:", "ä", "x" * 9000, *(page["pagination"]["next_cursor"] for page in pages)):
        answer = await tenant.client.get(tenant.path(path), params={field: cursor})
        assert answer.status_code == 400, cursor
        error = answer.json()["error"]
        assert (error["code"], error["details"][0]["field"]) == ("INVALID_CURSOR", field)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/endpoints", {"enabled": "true"}, 4),
        ("/v1/endpoints", {"enabled": "false"}, 3),
        ("/v1/endpoints", {"type": "page.made"}, 1),
        ("/v1/endpoints", {"type": "some.1", "enabled": "true"}, 0),
        ("/v1/endpoints", {"topic": "any.thing"}, 7),
        ("/v1/keys", {"role": "publisher"}, 7),
        ("/v1/keys", {"role": "admin"}, 1),
        ("/v1/audit", {"action": "POST /v1/keys"}, 7),
        ("/v1/audit", {"action": "POST /v1/keys", "actor": "key:key_0"}, 0),
        ("/v1/events", {"since": "2026-01-31T08:00:00Z"}, 7),
        ("/v1/events", {"until": "2026-01-31T08:00:00Z"}, 0),
        ("/v1/events", {"since": "2126-01-31T08:00:00Z", "topic": "pages.1"}, 0),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_filter_finds_what_it_says(tenant: Tenant, path: str, query: dict[str, Any], expected: int) -> None:
    assert len((await tenant.page(path, limit=100, **query))["data"]) == expected
    there, back = await walked(tenant, path, 2, query)
    assert sum(len(page["data"]) for page in there) == sum(len(page["data"]) for page in back) == expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2126-01-31T08:00:00+01:00", 0),
        ("2026-01-31t08:00:00z", 7),
        ("2026-01-31T08:00:00.5-01:00", 7),
        ("2026-01-31", 7),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_time_is_taken_with_its_offset_unescaped(tenant: Tenant, since: str, expected: int) -> None:
    answer = await tenant.client.get(f"/v1/events?since={since}")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == expected


@pytest.mark.asyncio(loop_scope="module")
async def test_deliveries_go_on_by_the_older_name_too(tenant: Tenant) -> None:
    first = await tenant.page("/v1/deliveries", limit=2)
    cursor = first["pagination"]["next_cursor"]
    by_either = [await tenant.names("/v1/deliveries", limit=2, **{name: cursor}) for name in ("cursor", "after")]
    assert by_either[0] == by_either[1] != names(first)
