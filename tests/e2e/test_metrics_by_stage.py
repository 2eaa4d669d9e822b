"""Each stage of an event's way is in the metrics: what a test does is what the counters say was done."""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.test_metrics import Page, scrape
from tests.support.hub import KEY, Hub, free_port, publish
from tests.support.live import SseClient, WsClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually


@pytest.fixture
def hub() -> Iterator[Hub]:
    """One that has done nothing yet."""
    with Hub(workers=1, HUB_METRICS_PORT=str(free_port()), HUB_METRICS_KEY=KEY) as running:
        yield running


def web(hub: Hub) -> Page:
    return scrape(hub.url(), KEY)


def worker(hub: Hub) -> Page:
    return scrape(f"http://127.0.0.1:{hub.environment['HUB_METRICS_PORT']}", KEY)


async def test_appends_the_tail_the_fan_out_and_replays_are_counted(hub: Hub, client: httpx.AsyncClient) -> None:
    async with WsClient.open(hub) as ws, SseClient.open(hub, "topic=stage.*") as sse:
        await ws.join("stage.1")
        await sse.event()
        sent = [await publish(client, "stage.1", n) for n in range(3)]
        await ws.events(3)
        await sse.data(3)
        async with WsClient.open(hub) as late:
            await late.join("stage.1", after=sent[0]["cursor"])
            await late.events(2)
            await eventually(lambda: web(hub).total("hub_window_events") == 3, "the window is measured once a second")
            page = web(hub)
    assert page.total("hub_rooms") == 2
    assert page.total("hub_append_seconds_count") == 3
    assert page.total("hub_fanout_events_total") == 3
    assert page.total("hub_fanout_deliveries_total") == 6
    for name in ("hub_fanout_seconds_count", "hub_tail_lag_seconds_count"):
        assert 1 <= page.total(name) <= 3
    assert 0 <= page.total("hub_tail_lag_seconds_sum") < 3
    assert page.total("hub_connections_opened_total", transport="ws") == 2
    assert page.total("hub_connections_opened_total", transport="sse") == 1
    assert page.total("hub_replays_total", recovered="yes") == 1
    assert page.total("hub_replays_total", recovered="none") == 2
    assert page.total("hub_replayed_events_total") == 2
    assert page.total("hub_replay_seconds_count") == 3


async def test_a_full_log_and_a_gap_are_counted(hub: Hub, client: httpx.AsyncClient) -> None:
    with hub.store.client() as store:
        store.hset("hub:{p0}:meta", "full", "1")
        refused = await client.post("/v1/events", json={"topic": "a", "type": "t", "data": 1})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        page = web(hub)
        assert page.total("hub_append_failures_total", code="LOG_FULL") == 1
        assert page.total("hub_errors_total", code="LOG_FULL") == 1
        assert page.total("hub_log_full", partition="0") == 1
        store.hdel("hub:{p0}:meta", "full")
        await publish(client, "a", 1)
        assert web(hub).total("hub_log_full", partition="0") == 0
        async with WsClient.open(hub) as ws:
            await ws.join("a")
            assert web(hub).total("hub_gaps_total") == 0
            store.flushall()
            await ws.next("gap")
            assert web(hub).total("hub_gaps_total") == 1


async def test_the_store_and_the_loop_are_measured(hub: Hub, client: httpx.AsyncClient) -> None:
    await publish(client, "a", "x" * 1000)
    with hub.store.client() as store:
        store.config_set("maxmemory", "200mb")
    page = web(hub)
    assert page.total("hub_store_connects_total") >= 2
    assert page.total("hub_store_losses_total") == 0
    assert 0 < page.total("hub_store_round_trip_seconds_sum") < 60
    assert page.total("hub_store_memory_bytes") > 500_000
    assert page.total("hub_store_memory_limit_bytes") == 200 * 1024 * 1024
    assert page.total("hub_log_bytes", partition="0") > 1000
    assert 0 <= page.total("hub_log_oldest_seconds", partition="0") < 60
    assert "hub_requests_in_progress" in page.families
    await eventually(lambda: web(hub).total("hub_loop_lag_seconds_count") > 20, "the loop is measured on and on")
    hub.store.kill()
    hub.store.start()
    await eventually(lambda: web(hub).total("hub_store_losses_total") >= 1, "the loss is counted")


async def test_dispatch_attempts_and_operational_events_are_counted(hub: Hub, client: httpx.AsyncClient) -> None:
    async with Receiver() as site:
        site.delay = 1.0
        made = await client.post("/v1/endpoints", json={"url": site.url(), "topics": ["stage.*"]})
        assert made.status_code == 201
        await publish(client, "stage.1", 1)
        await site.until(1)
        await eventually(lambda: worker(hub).total("hub_attempts_in_flight") == 1, "the attempt is in flight")
        await eventually(lambda: worker(hub).total("hub_attempt_seconds_count") == 1, "it has ended")
        page = worker(hub)
        assert page.total("hub_attempt_seconds_sum") >= 1
        assert page.total("hub_attempts_in_flight") == 0
        assert page.total("hub_slots") == 200
        assert page.total("hub_dispatch_held") == 1
        assert page.total("hub_dispatched_events_total") == 1
        assert page.total("hub_dispatch_seconds_count") >= 1
        assert page.total("hub_dispatch_passed_total") == page.total("hub_leases_lost_total") == 0
        site.then, site.delay = answer(410), 0
        await publish(client, "stage.1", 2)
        await eventually(
            lambda: worker(hub).total("hub_operational_events_total") == 1, "hub.endpoint.disabled is told"
        )
        await eventually(lambda: web(hub).total("hub_outbox_events") == 0, "nothing waits to be told")
        assert worker(hub).total("hub_attempts_total", verdict="gone") == 1
