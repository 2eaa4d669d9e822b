"""Attempts by way of a proxy are bounded as those without one: time, redirects, what is read, what is kept."""

import asyncio

import pytest

from tests.support.receiver import Receiver, answer
from tests.support.webhook_site import ended, ground_of, start
from workers.sender import Answer, Sender

TIMEOUT = 1.0
PARTNER = "http://partner.invalid/hook"


async def post(proxy: Receiver, *answers: object, headers: dict[str, str] | None = None) -> Answer:
    """One try; the proxy gives the partner's answer itself."""
    proxy.answers[PARTNER] = list(answers)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    sender = Sender("Hub/test", proxy=proxy.url(""))
    try:
        return await sender.send(PARTNER, headers or {"webhook-id": "evt_1"}, b"{}", TIMEOUT)
    finally:
        await sender.close()


async def test_the_request_is_the_same_as_without_one() -> None:
    async with Receiver() as proxy:
        assert (await post(proxy, answer(204))).status == 204
        (got,) = proxy.got
        assert (got.method, got.path, got.body) == ("POST", PARTNER, b"{}")
        assert (got.headers["user-agent"], got.headers["webhook-id"]) == ("Hub/test", "evt_1")
        assert "accept-encoding" not in got.headers
        assert "cookie" not in got.headers


async def test_workers_go_out_by_the_proxy_of_the_settings() -> None:
    async with Receiver() as proxy:
        with start(HUB_WEBHOOK_PROXY=proxy.url("").replace("//", "//hub:secret@")) as hub:
            async with ground_of(hub) as ground:
                ep = await ground.endpoint(url=PARTNER)
                (entry,) = await ground.append(1)
                await ended(ground, ep, "succeeded")
            assert "secret@" not in hub.workers[0].log
        (got,) = proxy.got
        assert (got.path, got.headers["webhook-id"]) == (PARTNER, entry.id)
        assert got.headers["proxy-authorization"].startswith("Basic ")


async def test_a_redirect_is_not_followed() -> None:
    async with Receiver() as proxy:
        sent = await post(proxy, answer(302, location="http://elsewhere.invalid/"))
        assert (sent.status, sent.error, len(proxy.got)) == (302, "redirect", 1)


async def _silent(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _dribble(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-what\r\n\r\n")


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort")


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        (_silent, None, "timeout"),
        (_dribble, 200, "timeout"),
        (_closed, None, "reset"),
        (_garbage, None, "protocol"),
        (_cut, 200, "protocol"),
    ],
)
async def test_what_goes_wrong_has_the_same_names(wrong: object, status: int | None, error: str) -> None:
    async with Receiver() as proxy:
        sent = await post(proxy, wrong)
        assert (sent.status, sent.error) == (status, error)
        assert sent.duration_ms < TIMEOUT * 1000 + 1000


async def test_of_an_answer_only_as_much_is_kept() -> None:
    lines = "".join(f"x-{n}: {'y' * 1000}\r\n" for n in range(50))
    head = f"HTTP/1.1 503 No\r\n{lines}Retry-After: 7200\r\ncontent-length: 1000000\r\n\r\n".encode()
    async with Receiver() as proxy:
        sent = await post(proxy, head + b"z" * 1_000_000)
        assert sent.body == "z" * 16 * 1024
        assert (len(sent.headers), sent.headers["retry-after"], sent.headers["x-39"]) == (41, "7200", "y" * 512)


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_no_header_becomes_two(value: str) -> None:
    async with Receiver() as proxy:
        sent = await post(proxy, answer(204), headers={"ce-subject": value})
        assert (sent.status, sent.error) == (None, "protocol")
        assert proxy.got == []
