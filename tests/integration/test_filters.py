"""Filters and transformations at work: a real worker evaluates them on what is published."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from msgspec import Raw, json
from standardwebhooks.webhooks import Webhook

from hub.core.endpoint import EndpointInput, EndpointPatch
from hub.core.event import EventInput, seal
from hub.core.expression import Expression
from hub.core.retry import RetryInput
from hub.store.audience import Audience
from tests.support.hub import Hub
from tests.support.receiver import Receiver
from tests.support.webhook_site import emptied, ended, start
from tests.support.webhooks import APP, Ground


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with start() as running:
        yield running


@pytest.fixture
async def site(hub: Hub) -> AsyncIterator[Ground]:
    async with emptied(hub) as opened:
        yield opened


async def publish(ground: Ground, id: str, data: Any, kind: str = "order.created") -> None:
    given = EventInput("orders.42", kind, Raw(json.encode(data)))
    await ground.log.append(APP, [seal(given, id=id, timestamp="2026-01-31T08:00:00Z", max_bytes=100_000)])


async def test_only_what_passes_the_filter_is_owed_and_a_change_of_it_counts_at_once(
    site: Ground, receiver: Receiver
) -> None:
    ep = await site.endpoint(url=receiver.url(), filter="data.total > `100`")
    await site.endpoint(url=receiver.url("/all"))
    for n, total in enumerate((50, 150, "many", 200)):
        await publish(site, f"evt_a{n}", {"total": total})
    await receiver.until(4, "/all")
    assert [got.event["data"]["total"] for got in await receiver.until(2)] == [150, 200]
    await site.endpoints.update(APP, ep, EndpointPatch(filter=None))
    await publish(site, "evt_a9", {"total": 1})
    assert (await receiver.until(3))[-1].event["data"] == {"total": 1}
    assert (await site.endpoints.get(APP, ep)).filter is None


async def test_a_filter_that_fails_is_no_match_and_is_told_of_once(site: Ground, receiver: Receiver) -> None:
    ep = await site.endpoint(url=receiver.url("/strict"), filter="contains(data.tags, 'x')", types=("order.*",))
    await site.endpoint(url=receiver.url("/watch"), topics=("hub.**",), filter="length(data.nothing) > `0` || `true`")
    await site.endpoint(url=receiver.url("/told"), topics=("hub.**",))
    for n in range(3):
        await publish(site, f"evt_b{n}", {"total": n})
    await publish(site, "evt_b9", {"tags": ["x"]})
    (got,) = await receiver.until(1, "/strict")
    assert got.headers["webhook-id"] == "evt_b9"
    (told,) = await receiver.until(1, "/told")
    assert told.event["type"] == "hub.endpoint.filter_failed"
    assert (told.event["data"]["endpoint"], told.event["data"]["event"]) == (ep, "evt_b0")
    assert "JMESPathTypeError" in told.event["data"]["reason"]
    await publish(site, "evt_c", {"tags": ["x"]})
    await receiver.until(2, "/strict")
    assert (len(receiver.at("/told")), receiver.at("/watch")) == (1, [])


async def test_a_transformed_body_is_what_is_signed_and_sent(site: Ground, receiver: Receiver) -> None:
    given = EndpointInput(receiver.url(), transform="{order: topic, sum: data.total}")
    _, secret = await site.endpoints.create(APP, given)
    await publish(site, "evt_d", {"total": 7})
    (got,) = await receiver.until(1)
    assert got.event == {"order": "orders.42", "sum": 7}
    Webhook(secret).verify(got.body, got.headers)
    assert got.headers["webhook-id"] == "evt_d"


async def test_a_transform_that_fails_is_a_failed_attempt_and_can_be_mended(site: Ground, receiver: Receiver) -> None:
    ep = await site.endpoint(url=receiver.url(), transform="data.nothing", retry=RetryInput(schedule=()))
    await publish(site, "evt_e", {"total": 7})
    done = await ended(site, ep, "exhausted")
    assert [(one.status, one.error, one.body) for one in done.attempts] == [(None, "transform", "the result is null")]
    assert receiver.got == []
    await site.endpoints.update(APP, ep, EndpointPatch(transform="data.total"))
    await site.deliveries.retry(APP, done.id)
    assert (await receiver.until(1))[0].body == b"7"


async def test_costly_filters_of_one_app_hold_up_no_delivery_of_another(site: Ground, receiver: Receiver) -> None:
    """40 filters of other texts that each use up most of what one may: on one event they take no more than together."""
    data = {"items": [{"x": n} for n in range(1500)]}
    for n in range(40):
        text = f"data.items[?x > `{n}`] | length(@) > `1`"
        assert Expression(text).matches({"data": data})
        url = receiver.url("/costly")
        await site.endpoints.create("costly", EndpointInput(url=url, types=("heavy.*",), filter=text))
    watch = EndpointInput(url=receiver.url("/told"), topics=("hub.operational",))
    await site.endpoints.create("costly", watch)
    await site.endpoint(url=receiver.url("/other"), filter="data.total > `1`")
    given = EventInput("orders.42", "heavy.made", Raw(json.encode(data)))
    last = (await site.log.observe(0))[1]
    await site.log.append("costly", [seal(given, id="evt_h", timestamp="2026-01-31T08:00:00Z", max_bytes=100_000)])
    await publish(site, "evt_light", {"total": 2})
    await receiver.until(1, "/other")
    told = await receiver.until(1, "/told")
    assert {(one.event["type"], one.event["data"]["reason"]) for one in told} == {
        ("hub.endpoint.filter_failed", "the app's filters together take too many steps on this event")
    }
    failed: list[str] = []
    audience = Audience(site.link, lambda _entry, endpoint, _reason: failed.append(endpoint))
    await audience.refresh()
    (heavy,) = await site.log.range(0, last, 1)
    began = time.process_time()
    owed = audience.match(heavy)
    assert time.process_time() - began < 0.3  # some 0.02
    assert len(owed) + len(failed) == 40
    assert 5 <= len(owed) <= 7
    await site.endpoints.update("costly", owed[0], EndpointPatch(description="learned last by this worker"))
    await audience.refresh()
    assert audience.match(heavy) == owed  # the same ones fit, in whatever order a worker has learned of them
    assert len(await receiver.until(len(owed), "/costly")) == len(owed)
    for ep in await site.endpoints.ids("costly"):
        await site.endpoints.delete("costly", ep)
