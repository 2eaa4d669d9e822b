"""What the sender connects to: the address that is really dialled decides, whatever the URL says."""

import asyncio
import ipaddress
from typing import Any

import pytest
import uvloop

from hub.core.retry import RetryInput
from tests.support.dns import NameServer
from tests.support.hub import free_port
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import ended, ground_of, start
from tests.support.webhooks import APP, Ground
from workers.sender import Answer, Sender

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


async def post(url: str, **options: Any) -> Answer:
    sender = Sender("Test", **options)
    try:
        return await sender.send(url, {}, b"{}", 5)
    finally:
        await sender.close()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0"),
        *("2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "127.0.0.1.", "0177.0.0.1"),
    ],
)
async def test_no_spelling_of_an_internal_address_is_connected_to(receiver: Receiver, host: str) -> None:
    url = receiver.url().replace("127.0.0.1", host)
    sent = await post(url)
    assert sent.status is None
    assert sent.error in ("forbidden", "dns", "protocol")  # some spellings are refused before they come to the guard
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_it_is_the_guard_that_refuses_what_would_connect(receiver: Receiver, host: str) -> None:
    url = receiver.url().replace("127.0.0.1", host)
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert (await post(url, allowed=everything)).status == 200
    assert (await post(url)).error == "forbidden"


async def test_the_guard_holds_on_the_workers_own_loop(receiver: Receiver) -> None:
    url = receiver.url()

    def run() -> tuple[Answer, Answer]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(post(url)), runner.run(post(url, allowed=LOOPBACK))

    refused, taken = await asyncio.to_thread(run)
    assert (refused.error, taken.error, receiver.connections) == ("forbidden", None, 1)


async def test_what_is_allowed_is_reached_over_one_kept_connection(receiver: Receiver) -> None:
    sender = Sender("Test", allowed=LOOPBACK)
    answers = [await sender.send(receiver.url(), {}, b"{}", 5) for _ in range(3)]
    await sender.close()
    assert [one.status for one in answers] == [200, 200, 200]
    assert receiver.connections == 1


async def test_a_name_that_changes_its_address_is_vetted_on_each_dial(receiver: Receiver) -> None:
    """First it is the address that may be called, then an internal one."""
    port, allowed = receiver.port, (ipaddress.ip_network("127.0.0.1/32"),)
    addresses = iter(["127.0.0.1", "127.0.0.2"])
    async with Receiver("127.0.0.2", port) as internal, NameServer(lambda _: [next(addresses)]) as names:
        url, options = f"http://partner.example:{port}/hook", {"allowed": allowed, "name_server": names.place}
        first, second = await post(url, **options), await post(url, **options)
        assert (first.status, second.error) == (200, "forbidden")
        assert (names.asked, receiver.connections, internal.connections) == (["partner.example"] * 2, 1, 0)


async def test_of_a_names_addresses_those_that_may_be_called_are(receiver: Receiver) -> None:
    url, allowed = f"http://partner.example:{receiver.port}/hook", (ipaddress.ip_network("127.0.0.1/32"),)
    async with NameServer(lambda _: ["127.0.0.2", "127.0.0.1"]) as names:
        assert (await post(url, allowed=allowed, name_server=names.place)).status == 200
        assert (await post(url, name_server=names.place)).error == "forbidden"


async def test_with_a_proxy_requests_go_through_it_and_names_are_left_to_it(receiver: Receiver) -> None:
    proxy = receiver.url("").replace("//", "//hub:secret@")
    sent = await post("http://partner.invalid/hook", proxy=proxy)
    assert (sent.status, sent.error) == (200, None)
    (got,) = receiver.got
    assert got.path == "http://partner.invalid/hook"
    assert got.headers["proxy-authorization"].startswith("Basic ")


async def test_a_proxy_that_refuses_or_is_away_has_its_own_error(receiver: Receiver) -> None:
    receiver.answers["partner.invalid:443"] = [answer(403)]
    assert (await post("https://partner.invalid/hook", proxy=receiver.url(""))).error == "proxy"
    assert (await post("https://partner.invalid/hook", proxy=f"http://127.0.0.1:{free_port()}")).error == "proxy"


async def test_a_worker_that_allows_nothing_sends_nothing_inside_and_records_why(receiver: Receiver) -> None:
    with start(HUB_WEBHOOK_ALLOW_NETWORKS="") as hub:
        async with ground_of(hub) as ground:
            url = receiver.url().replace("127.0.0.1", "localhost")
            ep = await ground.endpoint(url=url, retry=RetryInput(schedule=()))
            await ground.append(1)
            done = await ended(ground, ep, "exhausted")
            assert [(one.status, one.error) for one in done.attempts] == [(None, "forbidden")]
    assert receiver.connections == 0


async def test_a_handshake_is_asked_of_nobody_inside_either(receiver: Receiver) -> None:
    public = "https://hub.example"
    with start(HUB_WEBHOOK_ALLOW_NETWORKS="", HUB_PUBLIC_URL=public) as hub:
        async with ground_of(hub) as opened:
            ground = Ground(opened.link, HUB_PUBLIC_URL=public)
            url = receiver.url().replace("127.0.0.1", "localhost")
            ep = await ground.endpoint(url=url, handshake=True)

            async def reason() -> str | None:
                permission = (await ground.endpoints.get(APP, ep)).permission
                return permission and permission.reason

            assert await eventually(reason, "it is refused") == "no answer: forbidden"
    assert receiver.connections == 0
