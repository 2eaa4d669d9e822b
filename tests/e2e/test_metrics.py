"""What operators scrape: one page for all processes of a supervisor, within a second whatever is away."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.hub import KEY, Hub, auth, free_port, publish
from tests.support.live import WsClient
from tests.support.processes import Running, hub_command
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually, until

SCRAPE_KEY = "scrape-key-0123456789"


class Page:
    """A scraped page; `total` sums a metric's samples that have these labels, over all processes."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())

    def processes(self, name: str) -> set[str]:
        return {one.labels["process"] for one in self.samples if one.name == name}


def scrape(url: str, key: str = SCRAPE_KEY) -> Page:
    response = httpx.get(f"{url}/metrics", headers=auth(key), timeout=5)
    assert response.status_code == 200, response.text
    return Page(response.text)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """`hub dev` with three web processes and a worker."""
    folder = tmp_path_factory.mktemp("dev")
    environ = {
        "HUB_METRICS_KEY": SCRAPE_KEY, "HUB_LOG_FORMAT": "json", "HUB_BOOTSTRAP_KEY": KEY,
        "HUB_RETRY_SCHEDULE": "0.2", "HUB_METRICS_PER_ENDPOINT": "1",
    }  # fmt: skip
    command = hub_command("dev", "--port", "0", "--web", "3", "--data-dir", "data")
    with Running(command, environ=environ, folder=folder) as running:
        printed = running.until_printed("Webhook", 60)
        yield running, printed.split("Hub is at ")[1].split()[0]
        running.stop()


async def test_whichever_process_is_scraped_answers_for_all_of_them(served: tuple[Running, str]) -> None:
    _, url = served
    async with Receiver() as site, httpx.AsyncClient(base_url=url, headers=auth(), timeout=10) as client:
        site.answers["/hook"] = [answer(500, b"no")]
        # The address is printed once it is answered at; a process that begins later fans out only what comes then.
        await eventually(lambda: scrape(url).total("hub_tail_up") == 3, "all web processes read the log")
        made = await client.post("/v1/endpoints", json={"url": site.url(), "topics": ["metrics.*"]})
        endpoint = made.json()["data"]["id"]
        before = scrape(url).total("hub_published_total", result="appended")
        for n in range(12):  # each on a connection of its own, so that several processes take some
            async with httpx.AsyncClient(base_url=url, headers=auth(), timeout=10) as other:
                await publish(other, "metrics.1", n)
        await publish(client, "metrics.1", 0, id="same")
        await publish(client, "metrics.1", 0, id="same")
        await publish(client, "metrics.1", "now", ephemeral=True)
        for path in ("/v1/events/none", "/v1/none", "/v1/events?limit=0"):
            assert not (await client.get(path)).is_success
        await site.until(14)
        await eventually(lambda: scrape(url).total("hub_deliveries_ended_total") >= 13, "all deliveries have ended")
        await eventually(lambda: scrape(url).total("hub_fanout_events_total") >= 3 * 14, "each process fanned out all")
        pages = [scrape(url) for _ in range(6)]
    for page in pages:
        assert page.processes("hub_published_total") == {"web-1", "web-2", "web-3", "worker-1"}
        assert page.total("hub_published_total", result="appended") - before == 13
        assert page.total("hub_published_total", result="duplicate") == 1
        assert page.total("hub_published_total", result="ephemeral") == 1
        assert page.total("hub_append_seconds_count") >= 14
        assert page.total("hub_dispatched_events_total") >= 13
        assert page.total("hub_deliveries_owed_total") == 13
        assert page.total("hub_deliveries_ended_total", status="succeeded") == 13
        assert page.total("hub_attempts_total", verdict="ok", answer="2xx") == 13
        assert page.total("hub_attempts_total", verdict="retry", answer="5xx") == 1
        assert page.total("hub_endpoint_attempts_total", endpoint=endpoint) == 14
        assert page.total("hub_first_attempt_seconds_count") == 13
        assert page.total("hub_requests_total", method="POST", route="/v1/events", status="202") == 15
        assert page.total("hub_request_seconds_count", method="POST", route="/v1/events") == 15
        assert page.total("hub_requests_total", method="GET", route="/v1/events/{id:path}", status="404") == 1
        assert page.total("hub_requests_total", method="other", route="other", status="404") == 1
        assert page.total("hub_errors_total", code="NOT_FOUND") == 2
        assert page.total("hub_errors_total", code="VALIDATION_FAILED") == 1
        assert page.total("hub_store_up") == 1
        assert page.total("hub_scrape_silent") == 0
        assert page.total("hub_log_events", partition="0") >= 13
        assert page.total("hub_dispatch_leased", partition="0") == 1
        assert page.total("hub_dispatch_lag_seconds", partition="0") == 0


async def test_the_census_counts_what_is_owed_and_how_endpoints_stand(served: tuple[Running, str]) -> None:
    _, url = served
    async with httpx.AsyncClient(base_url=url, headers=auth(), timeout=10) as client:
        paused = {"url": "http://127.0.0.1:9/", "topics": ["owed.*"], "enabled": False}
        (await client.post("/v1/endpoints", json=paused)).raise_for_status()
        for n in range(3):
            await publish(client, "owed.1", n)
        await eventually(lambda: scrape(url).total("hub_queue_deliveries", state="fresh") == 3, "three are owed", 20)
        page = scrape(url)
        assert page.total("hub_endpoints", state="manual") == 1
        assert page.total("hub_breakers", state="closed") >= 1
        assert page.total("hub_queue_oldest_seconds") == 0  # a paused endpoint is nobody's alarm
        assert 0 <= page.total("hub_census_age_seconds") < 20


async def test_a_web_process_that_died_leaves_nothing_behind(served: tuple[Running, str]) -> None:
    running, url = served
    pid = running.pid_of("web-2")

    os.kill(pid, signal.SIGKILL)
    running.until_logged("started", process="web-2", count=2)
    until(lambda: scrape(url).processes("hub_tail_up") == {"web-1", "web-2", "web-3", "worker-1"}, "web-2 is back")
    assert scrape(url).total("hub_scrape_silent") == 0


async def test_a_process_that_hangs_is_missing_and_said_to_be(served: tuple[Running, str]) -> None:
    running, url = served

    worker = running.pid_of("worker-1")
    os.kill(worker, signal.SIGSTOP)
    try:
        began = time.monotonic()
        page = scrape(url)
        assert time.monotonic() - began < 2
        assert page.total("hub_scrape_silent") == 1
        assert "worker-1" not in page.processes("hub_tail_up")
        assert "web-1" in page.processes("hub_tail_up")
    finally:
        os.kill(worker, signal.SIGCONT)


def test_the_metrics_are_for_who_has_their_key_or_may_see_every_app(served: tuple[Running, str]) -> None:
    _, url = served
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.get(f"{url}/metrics", headers=auth("wrong-key-0123456789")).status_code == 401
    assert httpx.get(f"{url}/metrics", headers=auth(KEY)).status_code == 200
    made = httpx.post(f"{url}/v1/keys", headers=auth(), json={"name": "admin", "scopes": ["admin"]}).json()["data"]
    assert httpx.get(f"{url}/metrics", headers=auth(made["key"])).status_code == 403


def test_openmetrics_is_given_to_who_asks_for_it(served: tuple[Running, str]) -> None:
    _, url = served
    accept = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    response = httpx.get(f"{url}/metrics", headers={**auth(SCRAPE_KEY), **accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_connections_are_counted_while_they_last_and_by_how_they_ended(hub: Hub) -> None:
    def connected() -> float:
        return scrape(hub.url(), KEY).total("hub_connections", transport="ws")

    before = connected()
    async with WsClient.open(hub) as client:
        await client.join("counted.1")
        assert connected() == before + 1
    await eventually(lambda: connected() == before, "it is gone from the metrics")
    assert scrape(hub.url(), KEY).total("hub_connections_closed_total", transport="ws", code="client") >= 1


def test_a_web_process_may_open_as_many_files_as_its_hard_limit_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))  # what the process inherits
    try:
        hub = Hub(HUB_METRICS_KEY=SCRAPE_KEY)
        with hub:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert scrape(hub.url()).total("process_max_fds") == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_scrape_without_a_store_is_answered_at_once_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    with Hub(web=1, workers=1, HUB_METRICS_KEY=SCRAPE_KEY, HUB_METRICS_PORT=str(port)) as hub:
        worker = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{worker}/health/ready"), "the worker's port answers")
        assert httpx.get(f"{worker}/metrics").status_code == 401
        page = scrape(worker)
        assert page.processes("hub_slots") == {"worker"}
        assert page.total("hub_store_up") == 1
        hub.store.hang()
        try:
            for url in (hub.url(), worker):
                began = time.monotonic()
                page = scrape(url)
                assert time.monotonic() - began < 1.5
                assert page.total("hub_store_up") == 0
                assert "hub_log_events" not in page.families
        finally:
            hub.store.wake()
        until(lambda: scrape(hub.url()).total("hub_store_up") == 1, "the store is back")
        hub.store.kill()
        until(lambda: httpx.get(f"{worker}/health/ready").status_code == 503, "the worker isn't ready")
        assert httpx.get(f"{worker}/health/live").status_code == 200
        assert scrape(hub.url()).total("hub_store_losses_total") >= 1


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
