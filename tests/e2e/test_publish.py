"""POST /v1/events and GET /v1/events: what is accepted is in the log, once, as it came."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.support.hub import publish


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get("/v1/events", params=query)
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def refusal(client: httpx.AsyncClient, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post("/v1/events", content=content, headers={"content-type": "application/json", **headers})
    assert response.json()["success"] is False
    return response.status_code, response.json()["error"]


async def test_an_event_is_answered_with_id_and_cursor_and_can_be_read_back(
    client: httpx.AsyncClient, topic: str
) -> None:
    answer = await publish(client, topic, {"total": 1e3, "note": "ü"}, source="/shop", subject="42")
    assert answer["duplicate"] is False
    assert answer["id"].startswith("evt_")
    read = (await client.get(f"/v1/events/{answer['id']}")).json()["data"]
    assert read["cursor"] == answer["cursor"]
    assert read["timestamp"] == answer["timestamp"]
    assert (read["topic"], read["type"], read["source"], read["subject"]) == (topic, "test.event", "/shop", "42")
    assert read["data"] == {"total": 1000.0, "note": "ü"}


async def test_the_payload_is_kept_to_the_letter_but_for_line_breaks(client: httpx.AsyncClient, topic: str) -> None:
    body = f'{{"topic": "{topic}", "type": "t", "data": {{"n": 1.50e2,\n "big": 12345678901234567890}}}}'
    response = await client.post("/v1/events", content=body, headers={"content-type": "application/json"})
    event = await client.get(f"/v1/events/{response.json()['data']['id']}")
    assert '"data":{"n": 1.50e2, "big": 12345678901234567890}' in event.text


async def test_a_batch_is_answered_in_order(client: httpx.AsyncClient, topic: str) -> None:
    batch = [{"topic": f"{topic}.{n % 3}", "type": "t", "data": n} for n in range(100)]
    response = await client.post("/v1/events", json=batch)
    answers = response.json()["data"]
    assert [answer["topic"] for answer in answers] == [item["topic"] for item in batch]
    found = await listed(client, topic=f"{topic}.*", limit=500)
    assert [event["id"] for event in found] == [answer["id"] for answer in answers]
    assert [event["data"] for event in found] == list(range(100))


async def test_a_bad_item_is_named_and_nothing_of_its_batch_is_appended(client: httpx.AsyncClient, topic: str) -> None:
    batch = [{"topic": topic, "type": "t", "data": 1}, {"topic": "no spaces", "type": "t", "data": 2}]
    status, error = await refusal(client, batch)
    assert (status, error["code"]) == (400, "VALIDATION_FAILED")
    assert error["details"][0]["field"] == "[1].topic"
    assert await listed(client, topic=topic) == []


async def test_publishing_an_id_again_answers_the_first_event(client: httpx.AsyncClient, topic: str) -> None:
    first = await publish(client, topic, 1, id="order-42", type="order.created")
    again = await publish(client, topic, 2, id="order-42", type="order.changed")
    assert again == {**first, "duplicate": True}
    assert len(await listed(client, topic=topic)) == 1
    other = await publish(client, topic + "2", 3, id="order-42")
    assert other["duplicate"] is False  # per topic


async def test_an_idempotency_key_makes_a_retried_batch_append_nothing_twice(
    client: httpx.AsyncClient, topic: str
) -> None:
    batch = [{"topic": topic, "type": "t", "data": n} for n in range(5)]
    headers = {"idempotency-key": f"key-{topic}"}
    first = (await client.post("/v1/events", json=batch, headers=headers)).json()["data"]
    again = (await client.post("/v1/events", json=batch, headers=headers)).json()["data"]
    assert [a["duplicate"] for a in again] == [True] * 5
    assert [a["id"] for a in again] == [a["id"] for a in first]
    assert len(await listed(client, topic=topic)) == 5


async def test_concurrent_publishers_of_one_id_append_it_once(client: httpx.AsyncClient, topic: str) -> None:
    answers = await asyncio.gather(*(publish(client, topic, n, id="same") for n in range(30)))
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 29
    assert len(await listed(client, topic=topic)) == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"{", 400, "INVALID_JSON", "body"),
        (b'{"topic":"a","type":"t","data":"\xff"}', 400, "INVALID_JSON", "body"),
        (b'{"type":"t","data":1}', 400, "VALIDATION_FAILED", "topic"),
        (b'{"topic":"a","type":"t"}', 400, "VALIDATION_FAILED", "data"),
        (b'{"topic":"a","type":"t","data":1,"colour":2}', 400, "VALIDATION_FAILED", "colour"),
        (b'{"topic":"hub.operational","type":"t","data":1}', 400, "VALIDATION_FAILED", "topic"),
        (b'{"topic":"a","type":"hub.x","data":1}', 400, "VALIDATION_FAILED", "type"),
        (b'{"topic":"a","type":"t","data":1,"timestamp":"yesterday"}', 400, "VALIDATION_FAILED", "timestamp"),
        (b'{"topic":"a","type":"t","data":1,"id":"a b"}', 400, "VALIDATION_FAILED", "id"),
        (b"[]", 400, "VALIDATION_FAILED", "body"),
        (b'{"topic":"a","type":"t","data":%s}' % (b"[" * 65 + b"]" * 65), 400, "VALIDATION_FAILED", "data"),
        (b'{"topic":"a","type":"t","data":"%s"}' % (b"x" * 262_144), 413, "PAYLOAD_TOO_LARGE", "event"),
        (b"[" + b",".join([b'{"topic":"a","type":"t","data":1}'] * 1001) + b"]", 413, "PAYLOAD_TOO_LARGE", None),
        (b" " * (4 * 1024 * 1024 + 1), 413, "PAYLOAD_TOO_LARGE", None),
    ],
)
async def test_bad_input_is_refused_by_name(
    client: httpx.AsyncClient, body: bytes, status: int, code: str, field: str | None
) -> None:
    got, error = await refusal(client, body)
    assert (got, error["code"]) == (status, code), error
    assert [detail["field"] for detail in error["details"]] == ([] if field is None else [field])


async def test_another_content_type_is_refused(client: httpx.AsyncClient) -> None:
    status, error = await refusal(client, b"a=b", **{"content-type": "application/x-www-form-urlencoded"})
    assert (status, error["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_an_error_comes_as_problem_json_when_asked(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/events?limit=0", headers={"accept": "application/problem+json"})
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "VALIDATION_FAILED"
    assert response.json()["status"] == 400


async def test_events_are_listed_by_pattern_type_and_cursor_both_ways(client: httpx.AsyncClient, topic: str) -> None:
    for n in range(12):
        await publish(client, f"{topic}.{n % 2}", n, type="even.number" if n % 2 == 0 else "odd.number")
    assert [e["data"] for e in await listed(client, topic=f"{topic}.1")] == [1, 3, 5, 7, 9, 11]
    assert [e["data"] for e in await listed(client, topic=f"{topic}.**", type="even.*")] == [0, 2, 4, 6, 8, 10]
    assert [e["data"] for e in await listed(client, topic=f"{topic}.*", order="desc", limit=3)] == [11, 10, 9]
    for order, expected in (("asc", list(range(12))), ("desc", list(range(11, -1, -1)))):
        assert [e["data"] for e in await _all_pages(client, f"{topic}.*", order)] == expected
    middle = (await listed(client, topic=f"{topic}.*"))[5]["cursor"]
    assert [e["data"] for e in await listed(client, topic=f"{topic}.*", after=middle)] == [6, 7, 8, 9, 10, 11]
    assert [e["data"] for e in await listed(client, topic=f"{topic}.0", before=middle)] == [0, 2, 4]


async def _all_pages(client: httpx.AsyncClient, topic: str, order: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query = {"topic": topic, "order": order, "limit": "5"}
    while True:
        answer = (await client.get("/v1/events", params=query)).json()
        found += answer["data"]
        if not answer["pagination"]["has_more"]:
            return found
        query["after" if order == "asc" else "before"] = answer["pagination"]["next_cursor"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=501", "limit"),
        ("order=up", "order"),
        ("after=zzz", "after"),
        ("topic=a..b", "topic"),
        ("topik=a", "topik"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(client: httpx.AsyncClient, query: str, field: str) -> None:
    response = await client.get(f"/v1/events?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["field"] == field


async def test_unknown_things_are_404_and_wrong_methods_405(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/events/evt_nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert (await client.get("/v1/nothing")).json()["error"]["code"] == "NOT_FOUND"
    wrong = await client.delete("/v1/events")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in wrong.headers["allow"]


async def test_a_request_id_is_taken_or_made_and_returned(client: httpx.AsyncClient, topic: str) -> None:
    given = await client.get("/v1/events", headers={"x-request-id": "trace-1"}, params={"topic": topic})
    assert given.headers["x-request-id"] == given.json()["meta"]["request_id"] == "trace-1"
    made = await client.get("/v1/events", headers={"x-request-id": "no spaces please"}, params={"topic": topic})
    assert made.headers["x-request-id"].startswith("req_")
