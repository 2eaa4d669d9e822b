"""One trace from a publish to every attempt, as a collector gets it; and what happens to traces without one."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.hub import Hub, auth, publish
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SENT = f"00-{TRACE}-{PARENT}-01"


class Span:
    """One span as the collector got it; `attributes` are texts."""

    def __init__(self, raw: object, role: str) -> None:
        self.role = role
        self.name: str = getattr(raw, "name")  # noqa: B009 - a generated class
        self.id: str = getattr(raw, "span_id").hex()  # noqa: B009
        self.parent: str = getattr(raw, "parent_span_id").hex()  # noqa: B009
        self.trace: str = getattr(raw, "trace_id").hex()  # noqa: B009
        self.failed: bool = getattr(raw, "status").code == 2  # noqa: B009
        self.seconds = (getattr(raw, "end_time_unix_nano") - getattr(raw, "start_time_unix_nano")) / 1e9  # noqa: B009


def spans(collector: Receiver, trace: str = TRACE) -> list[Span]:
    found: list[Span] = []
    for got in collector.at("/v1/traces"):
        request = ExportTraceServiceRequest.FromString(got.body)
        for group in request.resource_spans:
            named = {one.key: one.value.string_value for one in group.resource.attributes}
            assert named["service.name"] == "hub-under-test"
            found += [Span(raw, named["hub.role"]) for scope in group.scope_spans for raw in scope.spans]
    return [span for span in found if span.trace == trace]


@pytest.fixture
async def collector() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


def traced(collector: Receiver) -> Hub:
    return Hub(
        web=2,
        workers=1,
        HUB_TRACES="otlp",
        HUB_RETRY_SCHEDULE="0.2,0.2",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url(""),
        OTEL_SERVICE_NAME="hub-under-test",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )


async def test_one_trace_holds_the_publish_the_append_each_fan_out_and_each_attempt(collector: Receiver) -> None:

    hub = traced(collector)
    await asyncio.to_thread(hub.__enter__)
    try:
        async with Receiver() as site, hub.client() as client:
            site.answers["/hook"] = [answer(500, b"no")]
            made = await client.post("/v1/endpoints", json={"url": site.url(), "topics": ["orders.*"]})
            made.raise_for_status()
            event = {"topic": "orders.1", "type": "order.created", "data": 1}
            (await client.post("/v1/events", json=event, headers={"traceparent": SENT})).raise_for_status()
            tries = await site.until(2)
            await eventually(lambda: len(spans(collector)) >= 6, "publish, append, two fan-outs, two attempts")
            got = {name: [span for span in spans(collector) if span.name == name] for name in
                   ("publish", "append", "fan-out", "attempt")}  # fmt: skip
            (published,) = got["publish"]
            (appended,) = got["append"]
            assert (published.parent, published.role) == (PARENT, "web")
            assert appended.parent == published.id
            assert appended.seconds <= published.seconds
            assert [span.parent for span in got["fan-out"]] == [published.id] * 2
            assert [(span.parent, span.role) for span in got["attempt"]] == [(published.id, "worker")] * 2
            assert sorted(span.failed for span in got["attempt"]) == [False, True]
            # What the partner gets leads to the attempt that brought it.
            sent = [one.headers["traceparent"] for one in tries]
            assert {text.split("-")[2] for text in sent} == {span.id for span in got["attempt"]}
            assert {text.split("-")[1] for text in sent} == {TRACE}
            # One that its sender doesn't sample stays so on its way, and makes no spans.
            unsampled = {"traceparent": f"00-{'f' * 32}-{PARENT}-00"}
            (await client.post("/v1/events", json=event, headers=unsampled)).raise_for_status()
            _, trace, _, flags = (await site.until(3))[2].headers["traceparent"].split("-")
            assert (trace, flags) == ("f" * 32, "00")
            # A publisher without a trace begins one.
            await publish(client, "orders.2", 2)
            own = (await site.until(4))[3].headers["traceparent"].split("-")[1]
            await eventually(lambda: len(spans(collector, own)) >= 5, "the hub's own trace is whole")
            assert own != TRACE
            assert spans(collector, trace) == []
        for process in (*hub.webs, *hub.workers):
            assert await asyncio.to_thread(process.terminate) == 0
    finally:
        hub.__exit__(None, None, None)


async def test_a_collector_that_is_away_holds_nobody_up() -> None:

    async with Receiver() as gone:
        pass_port = gone.port
    hub = Hub(web=1, HUB_TRACES="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{pass_port}")
    await asyncio.to_thread(hub.__enter__)
    try:
        async with hub.client() as client:
            began = time.monotonic()
            for n in range(20):
                await publish(client, "orders.1", n)
            assert time.monotonic() - began < 5
        began = time.monotonic()
        assert await asyncio.to_thread(hub.webs[0].terminate) == 0
        assert time.monotonic() - began < 9
    finally:
        hub.__exit__(None, None, None)


@pytest.fixture(scope="module")
def plain() -> Iterator[Hub]:
    """A hub that makes no spans."""
    with Hub(workers=1) as hub:
        yield hub


async def test_without_spans_of_its_own_the_hub_passes_a_trace_on_as_it_came(plain: Hub) -> None:
    async with Receiver() as site, plain.client() as client:
        (await client.post("/v1/endpoints", json={"url": site.url(), "topics": ["passed.*"]})).raise_for_status()
        event = {"topic": "passed.1", "type": "order.created", "data": 1}
        for headers in ({"traceparent": SENT}, {"traceparent": "nonsense"}, {}):
            (await client.post("/v1/events", json=event, headers=headers)).raise_for_status()
        carried = [one.headers.get("traceparent") for one in await site.until(3)]
        assert carried.count(SENT) == 1
        assert carried.count(None) == 2


async def test_each_cloudevent_of_a_batch_has_the_trace_that_it_names(plain: Hub) -> None:
    def cloudevent(n: int, **extensions: str) -> dict[str, object]:
        return {"specversion": "1.0", "id": f"trace-{n}", "source": "/here", "type": "order.created",
                "topic": f"named.{n}", "data": n, **extensions}  # fmt: skip

    other = SENT.replace(PARENT, "0000000000000001")
    batch = [cloudevent(1, traceparent=other), cloudevent(2)]
    headers = {"content-type": "application/cloudevents-batch+json", "traceparent": SENT}
    async with Receiver() as site, httpx.AsyncClient(base_url=plain.url(), headers=auth()) as client:
        (await client.post("/v1/endpoints", json={"url": site.url(), "topics": ["named.*"]})).raise_for_status()
        (await client.post("/v1/events", json=batch, headers=headers)).raise_for_status()
        by_topic = {one.event["topic"]: one.headers["traceparent"] for one in await site.until(2)}
        assert by_topic == {"named.1": other, "named.2": SENT}
