"""Part 1: publishing. An event goes into the log once; everything else reads it from there."""

import httpx

from tests.support.hub import Hub, auth


async def test_an_event_says_where_it_goes_and_what_happened(client: httpx.AsyncClient, topic: str) -> None:
    """An event has a `topic`, the address: `orders.42`; a `type`, what happened: `order.created`; and any JSON as
    `data`.

    `client` sends an API key with the scope `events:publish` as `Authorization: Bearer KEY`. The answer is 202 once the
    event is as durable as the deployment was set up for.
    """
    order = {"topic": topic, "type": "order.created", "data": {"total": 7}}
    answer = await client.post("/v1/events", json=order)
    assert answer.status_code == 202
    accepted = answer.json()["data"]
    assert accepted["id"].startswith("evt_")

    # It can be read back. What was accepted is from now on carried byte for byte; beside it stands its cursor, the
    # place in the log right behind it.
    event = (await client.get(f"/v1/events/{accepted['id']}")).json()["data"]
    assert event == {"id": accepted["id"], **order, "timestamp": accepted["timestamp"], "cursor": accepted["cursor"]}


async def test_publishing_again_with_the_same_id_appends_nothing(client: httpx.AsyncClient, topic: str) -> None:
    """When the answer got lost, publish again. With an `id` of your own that is safe: per topic, and for as long as
    events are kept, an id is appended once. The second answer is the first event's, marked as a duplicate."""
    order = {"topic": topic, "type": "order.created", "data": {"total": 7}, "id": "order-42-created"}
    first = (await client.post("/v1/events", json=order)).json()["data"]
    again = (await client.post("/v1/events", json=order)).json()["data"]
    assert first["duplicate"] is False
    assert again == {**first, "duplicate": True}


async def test_an_idempotency_key_does_the_same_for_whoever_has_no_ids(client: httpx.AsyncClient, topic: str) -> None:
    """The header `Idempotency-Key` names the request instead of the event: the ids are derived from it."""
    order = {"topic": topic, "type": "order.created", "data": {"total": 7}}
    headers = {"idempotency-key": f"checkout-of-{topic}"}
    first = (await client.post("/v1/events", json=order, headers=headers)).json()["data"]
    again = (await client.post("/v1/events", json=order, headers=headers)).json()["data"]
    assert again["id"] == first["id"]
    assert again["duplicate"] is True


async def test_a_batch_is_an_array_and_is_checked_as_a_whole(client: httpx.AsyncClient, topic: str) -> None:
    """Up to 1000 events in one request. One that is wrong is named by its index, and then none of them is appended."""
    parcels = [{"topic": topic, "type": "parcel.sent", "data": {"number": n}} for n in range(3)]
    bad = await client.post("/v1/events", json=[*parcels, {"topic": "no spaces", "type": "parcel.sent", "data": 3}])
    assert bad.status_code == 400
    assert bad.json()["error"]["code"] == "VALIDATION_FAILED"
    assert bad.json()["error"]["details"][0]["field"] == "[3].topic"

    good = await client.post("/v1/events", json=parcels)
    assert len(good.json()["data"]) == 3
    listed = (await client.get("/v1/events", params={"topic": topic})).json()["data"]
    assert [event["data"]["number"] for event in listed] == [0, 1, 2]


async def test_patterns_select_and_cursors_go_on(client: httpx.AsyncClient, topic: str) -> None:
    """`*` stands for one token of a topic or a type, a `**` at the end for the rest. A cursor goes back in exactly
    as it came: `after` begins right behind that event."""
    for city, kind in (("berlin", "parcel.sent"), ("oslo", "parcel.sent"), ("oslo", "parcel.lost")):
        event = {"topic": f"{topic}.{city}.parcels", "type": kind, "data": city}
        assert (await client.post("/v1/events", json=event)).status_code == 202

    async def select(**query: str) -> list[tuple[str, str]]:
        listed = (await client.get("/v1/events", params=query)).json()["data"]
        return [(event["data"], event["type"]) for event in listed]

    assert await select(topic=f"{topic}.*.parcels", type="parcel.sent") == [
        ("berlin", "parcel.sent"),
        ("oslo", "parcel.sent"),
    ]
    first = (await client.get("/v1/events", params={"topic": f"{topic}.**", "limit": "1"})).json()
    assert first["pagination"]["has_more"] is True
    rest = await select(topic=f"{topic}.**", after=first["data"][0]["cursor"])
    assert rest == [("oslo", "parcel.sent"), ("oslo", "parcel.lost")]


async def test_a_key_does_what_its_scopes_say_until_it_is_revoked(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """Give each service a key of its own. The answer shows it once: the hub keeps only a hash."""
    made = (await client.post("/v1/keys", json={"name": "the shop", "scopes": ["events:publish"]})).json()["data"]
    order = {"topic": topic, "type": "order.created", "data": None}
    shop = auth(made["key"])
    assert (await client.post("/v1/events", json=order, headers=shop)).status_code == 202
    refused = await client.get("/v1/events", headers=shop)
    assert refused.status_code == 403
    assert "events:read" in refused.json()["error"]["message"]

    # A key that was revoked is refused by the next request, on every process.
    assert (await client.delete(f"/v1/keys/{made['id']}")).status_code == 204
    async with hub.client(1, key=made["key"]) as other_process:
        assert (await other_process.post("/v1/events", json=order)).status_code == 401
