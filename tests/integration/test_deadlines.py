"""An attempt ends within its endpoint's timeout wherever it hangs: real sockets at each stage of it."""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Generator

import pytest

from hub.core.retry import RetryInput
from tests.support.dns import NameServer
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import ended, ground_of, start
from workers.connection import MAX_READ
from workers.sender import Answer, Sender

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
TIMEOUT = 1.0
STAGES = ("connect", "tls", "head", "half", "body")


@contextlib.contextmanager
def deaf() -> Generator[int]:
    """A port whose listener's queue is full and never emptied: the kernel answers no more SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(10):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


async def _silent(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _half(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-")
    for _ in range(1000):
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def _dribble(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x")
        await asyncio.sleep(0.05)


@pytest.fixture
async def places() -> AsyncIterator[dict[str, str]]:
    """A URL for each stage that hangs there."""
    async with Receiver() as receiver:
        receiver.answers = {"/head": [_silent] * 20, "/half": [_half] * 20, "/body": [_dribble] * 20}
        with deaf() as port, socket.create_server(("127.0.0.1", 0), backlog=100) as mute:  # connects, says nothing
            yield {
                "connect": f"http://127.0.0.1:{port}/",
                "tls": f"https://127.0.0.1:{mute.getsockname()[1]}/",
                **{stage: receiver.url(f"/{stage}") for stage in ("head", "half", "body")},
            }


async def send(url: str, name_server: tuple[str, int] | None = None) -> tuple[Answer, float]:
    """One try, and the seconds that it took."""
    sender = Sender("Test", allowed=LOOPBACK, name_server=name_server)
    began = time.monotonic()
    try:
        return await sender.send(url, {}, b"{}", TIMEOUT), time.monotonic() - began
    finally:
        await sender.close()


@pytest.mark.parametrize("stage", STAGES)
async def test_the_deadline_holds_at_each_stage(places: dict[str, str], stage: str) -> None:
    sent, took = await send(places[stage])
    assert (sent.error, sent.status) == ("timeout", 200 if stage == "body" else None)
    assert TIMEOUT <= took < TIMEOUT + 1
    assert sent.duration_ms == pytest.approx(took * 1000, abs=100)


async def test_the_deadline_is_over_the_name_too_and_names_that_hang_hold_up_no_other() -> None:
    """More names hang than a loop has threads for look-ups."""
    async with Receiver() as receiver, NameServer(lambda n: None if "hang" in n else ["127.0.0.1"]) as names:
        sender = Sender("Test", allowed=LOOPBACK, name_server=names.place)

        async def try_once(name: str) -> Answer:
            return await sender.send(receiver.url().replace("127.0.0.1", name), {}, b"{}", TIMEOUT)

        hanging = [asyncio.create_task(try_once(f"hang{n}.example")) for n in range(50)]
        await eventually(lambda: len(set(names.asked)) == 50, "all are asked for at once")
        good = await try_once("good.example")
        assert (good.status, good.duration_ms < 500) == (200, True)
        for one in await asyncio.gather(*hanging):
            assert (one.error, one.status) == ("timeout", None)
            assert TIMEOUT * 1000 - 10 <= one.duration_ms < TIMEOUT * 1000 + 1000
        await sender.close()


async def test_a_name_that_does_not_exist_or_has_no_answer_in_time_is_told_apart() -> None:
    async with NameServer(lambda _: []) as names:
        sent, took = await send("http://nobody.example/", names.place)
        assert (sent.error, sent.status, took < TIMEOUT) == ("dns", None, True)


async def test_the_time_of_a_stage_is_taken_from_the_next_ones() -> None:
    """Head and body each come in time, and together they don't."""

    async def slow(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.8 * TIMEOUT)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n")
        await asyncio.sleep(0.8 * TIMEOUT)
        writer.write(b"x")

    async with Receiver() as receiver:
        receiver.answers["/hook"] = [slow]
        sent, took = await send(receiver.url())
        assert (sent.error, sent.status) == ("timeout", 200)
        assert took < 1.5 * TIMEOUT


@pytest.mark.parametrize("size", [16 * 1024 + 1, MAX_READ, 4 * MAX_READ])
async def test_a_body_over_the_limit_is_cut_and_its_connection_not_used_again(size: int) -> None:
    async with Receiver() as receiver:
        sender = Sender("Test", allowed=LOOPBACK)
        receiver.answers["/hook"] = [answer(500, b"y" * size), answer(500, b"y" * 1024), answer(200)]
        sent = [await sender.send(receiver.url(), {}, b"{}", 5) for _ in range(3)]
        await sender.close()
        assert [one.status for one in sent] == [500, 500, 200]
        assert [len(one.body or "") for one in sent] == [16 * 1024, 1024, 0]
        assert receiver.connections == 2  # one for the long answer, one for the two others


async def test_no_slot_is_lost_to_attempts_that_hang_at_any_stage(places: dict[str, str]) -> None:
    """Twice as many hang as the worker has slots; then all its slots serve two endpoints that answer."""
    with start(concurrency=4) as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            never = RetryInput(schedule=())
            hanging = {
                stage: await ground.endpoint(url=url, timeout=TIMEOUT, retry=never, types=("hang.*",))
                for stage, url in places.items()
            }
            await ground.append(1, kind="hang.now")
            for stage, ep in hanging.items():
                (attempt,) = (await ended(ground, ep, "exhausted", 30)).attempts
                assert (attempt.error, attempt.status) == ("timeout", 200 if stage == "body" else None)
                assert TIMEOUT * 1000 - 10 <= attempt.duration_ms < TIMEOUT * 1000 + 2000
            receiver.delay = 0.1
            for path in ("/a", "/b"):
                await ground.endpoint(url=receiver.url(path), types=("good.*",))
            await ground.append(20, kind="good.now")
            for path in ("/a", "/b"):
                await receiver.until(20, path)
            assert receiver.most_in_flight == 4
