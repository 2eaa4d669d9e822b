"""A real worker against a partner that answers in every way: what is sent, what is recorded, and what follows."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from statistics import median

import pytest
from standardwebhooks.webhooks import Webhook

from hub import VERSION
from hub.core.endpoint import EndpointInput, EndpointPatch
from hub.core.retry import RetryInput
from hub.store import keys
from tests.support.hub import Hub, free_port
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import attempts_logged, emptied, ended, start
from tests.support.webhooks import APP, Ground
from workers.deliver import TICK

NEVER = RetryInput(schedule=())
ONCE = RetryInput(schedule=(0.1,))


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with start() as running:
        yield running


@pytest.fixture
async def ground(hub: Hub) -> AsyncIterator[Ground]:
    async with emptied(hub) as opened:
        yield opened


async def test_an_attempt_carries_the_events_bytes_and_a_signature_that_verifies(
    ground: Ground, receiver: Receiver, hub: Hub
) -> None:
    given = EndpointInput(receiver.url("/hook?a=%20b"), headers={"X-Team": "blue"})
    made, secret = await ground.endpoints.create(APP, given)
    (entry,) = await ground.append(1)
    (got,) = await receiver.until(1, "/hook?a=%20b")
    assert got.body == entry.body
    assert Webhook(secret).verify(got.body, got.headers) == got.event
    assert got.headers["webhook-id"] == entry.id
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == f"Hub/{VERSION}"
    assert got.headers["x-team"] == "blue"
    done = await ended(ground, made.id, "succeeded")
    assert [(one.number, one.status, one.error, one.body) for one in done.attempts] == [(1, 200, None, None)]
    (line,) = attempts_logged(hub.workers[0], event_id=entry.id)
    assert (line["endpoint"], line["delivery"], line["request_id"]) == (made.id, done.id, "req_test")
    assert (line["attempt"], line["status"], line["error"], line["verdict"]) == (1, 200, None, "ok")


async def test_failures_are_retried_with_growing_gaps_until_one_succeeds(ground: Ground, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [answer(500, b"sorry"), answer(500)]
    ep = await ground.endpoint(url=receiver.url())
    await ground.append(1)
    done = await ended(ground, ep, "succeeded")
    first, second, third = receiver.at("/hook")
    assert 0.3 <= second.at - first.at < third.at - second.at
    assert third.at - second.at >= 0.6
    assert [(one.number, one.status, one.error) for one in done.attempts] == [
        (1, 500, "status"), (2, 500, "status"), (3, 200, None)]  # fmt: skip
    assert done.attempts[0].body == "sorry"
    assert len({got.headers["webhook-id"] for got in (first, second, third)}) == 1


async def test_the_endpoints_own_schedule_counts_and_an_exhausted_delivery_is_told_of_once(
    ground: Ground, receiver: Receiver
) -> None:
    receiver.answers["/bad"] = [answer(500)] * 9
    receiver.answers["/watch"] = [answer(500)] * 9  # a delivery of hub.* that is exhausted tells nobody
    watch = await ground.endpoint(url=receiver.url("/watch"), topics=("hub.**",), retry=ONCE)
    bad = await ground.endpoint(url=receiver.url("/bad"), types=("order.*",), retry=ONCE)
    (entry,) = await ground.append(1)
    done = await ended(ground, bad, "exhausted")
    assert len(done.attempts) == 2
    assert (await ended(ground, watch, "exhausted")).event.type == "hub.delivery.exhausted"
    told = receiver.at("/watch")[0].event
    assert (told["type"], told["topic"]) == ("hub.delivery.exhausted", "hub.operational")
    assert told["data"] == {"endpoint": bad, "delivery": done.id, "event": entry.id}
    assert await ground.statuses(endpoint=watch) == ["exhausted"]


async def test_410_disables_the_endpoint_and_says_so(ground: Ground, receiver: Receiver) -> None:
    receiver.answers["/gone"] = [answer(410)]
    await ground.endpoint(url=receiver.url("/watch"), topics=("hub.operational",))
    ep = await ground.endpoint(url=receiver.url("/gone"), max_in_flight=1, types=("order.*",))
    first, *_ = await ground.append(3)
    (told,) = await receiver.until(1, "/watch")
    assert told.event["type"] == "hub.endpoint.disabled"
    assert told.event["data"] == {"endpoint": ep, "event": first.id, "reason": "gone"}
    await eventually(lambda: _all(ground, ep, ["cancelled"] * 3), "what was queued is cancelled")
    assert (await ground.endpoints.get(APP, ep)).disabled_reason == "gone"
    assert len(receiver.at("/gone")) == 1


async def test_a_redirect_is_a_failure_and_never_followed(ground: Ground, receiver: Receiver) -> None:
    receiver.answers["/moved"] = [answer(302, location=receiver.url("/other"))]
    ep = await ground.endpoint(url=receiver.url("/moved"))
    await ground.append(1)
    done = await ended(ground, ep, "succeeded")
    assert [(one.status, one.error) for one in done.attempts] == [(302, "redirect"), (200, None)]
    assert receiver.at("/other") == []


async def test_429_and_503_wait_at_least_as_long_as_they_ask(ground: Ground, receiver: Receiver) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2.9), usegmt=True)  # whole seconds: 2 from now, or more
    receiver.answers["/seconds"] = [answer(429, retry_after="1")]
    receiver.answers["/date"] = [answer(503, retry_after=at)]
    for path in ("/seconds", "/date"):
        await ground.endpoint(url=receiver.url(path))
    await ground.append(1)
    for path, least in (("/seconds", 1.0), ("/date", 1.2)):
        first, second = await receiver.until(2, path)
        assert second.at - first.at >= least


async def test_the_deadline_is_over_headers_and_body_alike(ground: Ground, receiver: Receiver) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    async def dribbling(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await asyncio.sleep(0.1)

    receiver.answers["/silent"] = [silent]
    receiver.answers["/dribbling"] = [dribbling]
    ids = [await ground.endpoint(url=receiver.url(path), timeout=1) for path in ("/silent", "/dribbling")]
    await ground.append(1)
    for ep, status in zip(ids, (None, 200), strict=True):
        first = (await ended(ground, ep, "succeeded")).attempts[0]
        assert (first.error, first.status) == ("timeout", status)
        assert 1000 <= first.duration_ms < 5000


async def test_what_is_wrong_with_a_connection_or_an_answer_has_a_stable_name(
    ground: Ground, receiver: Receiver
) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort")

    async def closed(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def garbage(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-what\r\n\r\n")

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    receiver.answers |= {"/cut": [cut] * 4, "/closed": [closed] * 4, "/garbage": [garbage] * 4}
    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    urls = {
        "connect": f"http://127.0.0.1:{free_port()}/",
        "dns": "http://no-such-host.invalid/",
        "tls": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/",
        "reset": receiver.url("/closed"),
        "protocol": receiver.url("/garbage"),
    }
    wanted = {await ground.endpoint(url=url, retry=NEVER): error for error, url in urls.items()}
    wanted[await ground.endpoint(url=receiver.url("/cut"), retry=NEVER)] = "protocol"
    await ground.append(1)
    for ep, error in wanted.items():
        assert [one.error for one in (await ended(ground, ep, "exhausted")).attempts] == [error]
    server.close()


async def test_of_a_large_answer_only_the_beginning_is_read_and_kept_of_failures(
    ground: Ground, receiver: Receiver
) -> None:
    receiver.answers["/hook"] = [answer(500, b"\xff" + b"x" * 1_000_000), answer(200, b"y" * 1_000_000)]
    ep = await ground.endpoint(url=receiver.url())
    await ground.append(1)
    failed, good = (await ended(ground, ep, "succeeded")).attempts
    assert failed.body == "\N{REPLACEMENT CHARACTER}" + "x" * (16 * 1024 - 1)
    assert failed.headers["content-length"] == "1000001"
    assert good.body is None


async def test_cookies_are_not_kept(ground: Ground, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [answer(200, set_cookie="a=b")]
    await ground.endpoint(url=receiver.url())
    await ground.append(1)
    await receiver.until(1)
    await ground.append(1)
    assert "cookie" not in (await receiver.until(2))[1].headers


async def test_no_more_attempts_are_in_flight_than_the_endpoint_takes(ground: Ground, receiver: Receiver) -> None:
    receiver.delay = 0.02
    await ground.endpoint(url=receiver.url(), max_in_flight=3)
    await ground.append(30)
    await receiver.until(30)
    assert receiver.most_in_flight == 3


async def test_a_partner_that_hangs_holds_up_nobody_else(ground: Ground, receiver: Receiver) -> None:
    async with Receiver() as slow:
        slow.delay = 5
        await ground.endpoint(url=slow.url())
        await ground.endpoint(url=receiver.url())
        await ground.append(50)
        await receiver.until(50, seconds=4)


async def test_a_disabled_endpoint_goes_on_where_it_stopped(ground: Ground, receiver: Receiver) -> None:
    ep = await ground.endpoint(url=receiver.url(), enabled=False)
    entries = await ground.append(3)
    await eventually(lambda: _all(ground, ep, ["pending"] * 3), "the events are collected")
    assert receiver.got == []
    await ground.endpoints.update(APP, ep, EndpointPatch(enabled=True))
    assert {got.headers["webhook-id"] for got in await receiver.until(3)} == {entry.id for entry in entries}


async def test_a_retry_by_hand_is_sent_at_once(ground: Ground, receiver: Receiver) -> None:
    ep = await ground.endpoint(url=receiver.url())
    await ground.append(1)
    done = await ended(ground, ep, "succeeded")
    delays: list[float] = []
    for n in range(2, 9):
        began = time.monotonic()
        await ground.deliveries.retry(APP, done.id)
        again = (await receiver.until(n))[-1]
        delays.append(again.at - began)
        assert again.body == receiver.got[0].body
        await ended(ground, ep, "succeeded")
    assert median(delays) < TICK / 2  # woken by the doorbell: the poll behind it is slower


async def test_a_retry_by_hand_has_the_whole_schedule_before_it(ground: Ground, receiver: Receiver) -> None:
    receiver.then = answer(500)
    ep = await ground.endpoint(url=receiver.url(), retry=ONCE)
    await ground.append(1)
    done = await ended(ground, ep, "exhausted")
    await ground.deliveries.retry(APP, done.id)
    await receiver.until(4)
    again = await ended(ground, ep, "exhausted")
    assert [one.number for one in again.attempts] == [1, 2, 3, 4]
    assert len(receiver.got) == 4


async def test_an_event_is_sent_at_once(ground: Ground, receiver: Receiver) -> None:
    await ground.endpoint(url=receiver.url())
    await ground.append(1)
    await receiver.until(1)
    delays: list[float] = []
    for n in range(2, 12):
        began = time.monotonic()
        await ground.append(1)
        delays.append((await receiver.until(n))[-1].at - began)
    assert median(delays) < TICK / 2


async def test_an_entry_that_cannot_be_read_stops_nobody(ground: Ground, receiver: Receiver, hub: Hub) -> None:
    await ground.endpoint(url=receiver.url())
    await ground.link.call("XADD", keys.log(0), "*", "nonsense", "1")
    await ground.link.call("XADD", keys.log(0), "*", *("a", b"\xff", "t", "x", "y", "x", "i", "x", "r", "x", "e", "x"))
    (entry,) = await ground.append(1)
    await eventually(lambda: receiver.got, "the event behind it arrives")
    assert receiver.got[0].headers["webhook-id"] == entry.id
    assert hub.workers[0].log.count('"unreadable"') >= 2
    await ground.link.call("XTRIM", keys.log(0), "MAXLEN", 0)


async def _all(ground: Ground, endpoint_id: str, statuses: list[str]) -> bool:
    return await ground.statuses(endpoint=endpoint_id) == statuses
