"""What a web process logs of its requests: one wide line each, under its id; and of a defect the trace."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.hub import KEY, Hub
from tests.support.live import SseClient, WsClient
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """One of its own, whose store a test fills with nonsense."""
    with Hub() as running:
        yield running


def lines(hub: Hub, **fields: Any) -> list[dict[str, Any]]:
    """The lines of the log that have these fields."""
    found = [json.loads(line) for line in hub.webs[0].log.splitlines()]
    return [line for line in found if fields.items() <= line.items()]


async def line(hub: Hub, **fields: Any) -> dict[str, Any]:
    """The one line that has these fields."""
    await eventually(lambda: lines(hub, **fields), f"{fields} is logged")
    (found,) = lines(hub, **fields)
    return found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/events", 200), ("POST", "/v1/keys", 400), ("GET", "/v1/none", 404), ("PUT", "/v1/events", 405),
     ("OPTIONS", "/v1/keys", 204), ("GET", "/v2/keys", 400), ("HEAD", "/v1/keys", 200)],
)  # fmt: skip
async def test_each_request_has_a_line_under_its_id(
    hub: Hub, client: httpx.AsyncClient, topic: str, method: str, path: str, status: int
) -> None:
    asked = f"logged-{topic}"
    answer = await client.request(method, path, headers={"x-request-id": asked})
    assert answer.status_code == status
    said = await line(hub, event="request", request_id=asked)
    assert (said["method"], said["path"], said["status"]) == (method, path, status)
    assert 0 < said["duration_ms"] < 10_000
    assert (said["level"], said["role"], said["pid"]) == ("info", "web", hub.webs[0].process.pid)
    assert said["timestamp"].endswith("Z")


async def test_an_id_that_is_none_is_replaced_and_the_new_one_logged(hub: Hub, client: httpx.AsyncClient) -> None:
    for wrong in ("no spaces", "x" * 129, "", "ü", "a,b"):
        answer = await client.get("/v1/stats", headers=[(b"x-request-id", wrong.encode())])
        made = answer.headers["x-request-id"]
        assert made.startswith("req_")
        assert len(made) == 28
        assert (await line(hub, event="request", request_id=made))["path"] == "/v1/stats"
    kept = "A-z_0.9:" * 16
    assert (await client.get("/v1/stats", headers={"x-request-id": kept})).headers["x-request-id"] == kept


async def test_a_live_connection_is_logged_once_it_is_open(hub: Hub) -> None:
    async with WsClient.open(hub), SseClient.open(hub, "topic=logged.*") as sse:
        await sse.event()
        said = await line(hub, event="request", method="WS")
        assert (said["path"], said["status"]) == ("/v1/ws", 101)
        assert (await line(hub, event="request", path="/v1/stream"))["status"] == 200
    assert len(lines(hub, event="request", method="WS")) == 1


async def test_health_and_metrics_are_not_logged_and_no_query_is(hub: Hub, client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/v1/topics?prefix=in.the.query"):
        assert (await client.get(path)).status_code == 200
    await line(hub, event="request", path="/v1/topics")
    assert not [
        one for one in lines(hub, event="request") if one["path"] in ("/health/live", "/health/ready", "/metrics")
    ]
    assert "in.the.query" not in hub.webs[0].log


async def test_a_defect_is_answered_without_its_cause_which_the_log_has_under_the_same_id(
    hub: Hub, client: httpx.AsyncClient
) -> None:
    with hub.store.client() as store:
        store.hset("hub:{cfg}:types:default", "broken.type", "nonsense of the store's")
    answer = await client.get("/v1/event-types/broken.type", headers={"x-request-id": "defect-1"})
    said = answer.json()
    assert (answer.status_code, said["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert said["meta"]["request_id"] == "defect-1"
    assert "request_id" in said["error"]["hint"]
    cause = await line(hub, event="request_failed", request_id="defect-1")
    assert cause["level"] == "error"
    assert "Traceback" in cause["exception"]
    assert "DecodeError" in cause["exception"]
    for word in ("DecodeError", "malformed", "nonsense", "Traceback"):
        assert word not in answer.text
    assert (await line(hub, event="request", request_id="defect-1"))["level"] == "warning"
    assert KEY not in hub.webs[0].log
