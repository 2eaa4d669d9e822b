"""How one try reads an answer: every way in which HTTP/1.1 lets one end, and those in which it doesn't."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from tests.support.dns import NameServer
from tests.support.receiver import OK, Receiver, answer
from tests.support.waiting import eventually
from workers.pool import MOST_IDLE, Pool
from workers.sender import Answer, Sender

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
Written = Callable[[asyncio.StreamWriter], object]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    opened = Sender("Test", allowed=LOOPBACK)
    yield opened
    await opened.close()


def piecewise(*parts: bytes, then_close: bool = True) -> Callable[[asyncio.StreamWriter], object]:
    async def write(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if not then_close:
            await asyncio.sleep(5)

    return write


async def try_once(sender: Sender, receiver: Receiver, *parts: bytes, then_close: bool = True) -> Answer:
    receiver.answers["/hook"] = [piecewise(*parts, then_close=then_close)]  # pyright: ignore[reportArgumentType]
    return await sender.send(receiver.url(), {"webhook-id": "evt_1"}, b"{}", 2)


HEAD = b"HTTP/1.1 500 No\r\n"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ((HEAD + b"content-length: 2\r\n\r\nab",), "ab"),
        ((HEAD + b"content-le", b"ngth: 2\r\n\r", b"\na", b"b"), "ab"),
        ((HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n0\r\nx-trailer: 1\r\n\r\n"), "ab"),
        ((HEAD + b"\r\na", b"b"), "ab"),  # it ends with its connection
        ((b"HTTP/1.0 500 No\r\n\r\nab",), "ab"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"content-length: 2\r\n\r\nab"), "ab"),
        ((b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",), None),
    ],
)
async def test_an_answer_may_end_and_come_in_many_ways(
    sender: Sender, receiver: Receiver, parts: tuple[bytes, ...], body: str | None
) -> None:
    sent = await try_once(sender, receiver, *parts)
    assert (sent.status, sent.error, sent.body) == (500, "status", body)
    assert "x-trailer" not in sent.headers
    assert "link" not in sent.headers


@pytest.mark.parametrize(
    ("parts", "status", "error"),
    [
        ((), None, "reset"),
        ((b"HTTP/1.1 20",), None, "protocol"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",), 200, "protocol"),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",), 200, "protocol"),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",), 200, "protocol"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",), None, "protocol"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",), 101, "status"),
        ((b"HTTP/1.1 200 OK\r\n" + b"x-long: " + b"y" * 100_000,), None, "protocol"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,), None, "protocol"),
    ],
)
async def test_what_breaks_off_or_is_no_http_is_told_apart(
    sender: Sender, receiver: Receiver, parts: tuple[bytes, ...], status: int | None, error: str
) -> None:
    sent = await try_once(sender, receiver, *parts)
    assert (sent.status, sent.error) == (status, error)
    assert sent.body is None


@pytest.mark.parametrize(
    ("parts", "status", "error"),
    [
        ((b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 100_000,), None, "protocol"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,), None, "protocol"),
        (
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1;" + b"e" * 60_000 + b"\r\nx\r\n"] * 8),
            200,
            None,  # its head has come whole, and of the body no more is needed
        ),
    ],
)
async def test_what_has_no_end_is_read_to_a_bound_and_not_waited_for(
    sender: Sender, receiver: Receiver, parts: tuple[bytes, ...], status: int | None, error: str | None
) -> None:
    sent = await try_once(sender, receiver, *parts, then_close=False)
    assert (sent.status, sent.error) == (status, error)
    assert sent.duration_ms < 1500


async def test_bytes_behind_an_answer_never_become_the_next_one(sender: Sender, receiver: Receiver) -> None:
    for behind in (b"x", OK, b"HTTP/1.1 204 No\r\n\r\n"):
        first = await try_once(sender, receiver, OK + behind, then_close=False)
        assert first.error is None
        receiver.answers["/hook"] = [answer(503)]
        assert (await sender.send(receiver.url(), {}, b"{}", 2)).status == 503
    assert receiver.connections >= 4


async def test_an_unasked_answer_on_an_idle_connection_ends_it(sender: Sender) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            ended.append(await reader.read())
        await _closed(writer)
        over.set()

    ended: list[bytes] = []
    over = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert (await sender.send(url, {}, b"", 2)).status == 200
    await asyncio.wait_for(over.wait(), 2)
    assert ended == [b""]  # the hub has closed it
    server.close()


async def test_a_connection_that_the_partner_closed_meanwhile_is_replaced(sender: Sender, receiver: Receiver) -> None:
    for n in range(3):
        sent = await try_once(sender, receiver, OK)  # the receiver closes behind it, without saying so
        assert (sent.status, sent.error) == (200, None)
        await eventually(lambda: receiver.in_flight == 0, "it has closed")
        await asyncio.sleep(0.02)
        assert receiver.connections == n + 1


async def test_a_partner_that_says_close_is_not_sent_to_again_over_it(sender: Sender, receiver: Receiver) -> None:
    receiver.then = answer(200, connection="close")
    for _ in range(3):
        assert (await sender.send(receiver.url(), {}, b"{}", 2)).error is None
    assert receiver.connections == 3


async def test_an_answer_before_the_request_was_read_counts(sender: Sender) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, b"too big"))
        await answered.wait()
        await _closed(writer)
        over.set()

    answered, over = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for size in (20_000_000, 2):  # the second one comes by another connection: the first is still full of the rest
        sent = await sender.send(url, {}, b"x" * size, 3)
        assert (sent.status, sent.body) == (413, "too big")
    answered.set()
    await asyncio.wait_for(over.wait(), 2)
    server.close()


async def test_header_values_of_any_bytes_can_be_kept(sender: Sender, receiver: Receiver) -> None:
    sent = await try_once(sender, receiver, b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xe9\r\ncontent-length: 0\r\n\r\n")
    assert sent.error is None
    assert msgspec.json.decode(msgspec.json.encode(sent.headers))["x-odd"] == "\N{REPLACEMENT CHARACTER}" * 2


async def test_of_very_many_headers_and_long_ones_a_part_is_kept_and_what_decides_something_always(
    sender: Sender, receiver: Receiver
) -> None:
    lines = "".join(f"x-{n}: {'y' * 1000}\r\n" for n in range(50))
    sent = await try_once(
        sender, receiver, f"HTTP/1.1 503 No\r\n{lines}Retry-After: 7200\r\ncontent-length: 0\r\n\r\n".encode()
    )
    assert (sent.status, len(sent.headers)) == (503, 41)
    assert sent.headers["x-39"] == "y" * 512
    assert sent.headers["retry-after"] == "7200"


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_no_header_becomes_two(sender: Sender, receiver: Receiver, value: str) -> None:
    assert (await sender.send(receiver.url(), {"ce-subject": value}, b"{}", 2)).error == "protocol"
    assert receiver.connections == 0


@pytest.mark.parametrize("behind", [" HTTP/1.1\r\nx-evil: 1\r\n\r\n", "\r\nx-evil: 1", "\nx: 1", "\t", "\0", " "])
async def test_no_url_becomes_a_header(sender: Sender, receiver: Receiver, behind: str) -> None:
    assert (await sender.send(receiver.url() + behind, {}, b"{}", 2)).error == "protocol"
    assert receiver.connections == 0


async def test_a_name_is_looked_up_once_for_all_who_want_it(receiver: Receiver) -> None:
    async with NameServer(lambda _: ["127.0.0.1"]) as names:
        sender = Sender("Test", allowed=LOOPBACK, name_server=names.place)
        receiver.delay = 0.05
        url = receiver.url().replace("127.0.0.1", "partner.example")
        sent = await asyncio.gather(*(sender.send(url, {}, b"{}", 2) for _ in range(5)))
        assert [one.status for one in sent] == [200] * 5
        assert names.asked == ["partner.example"]
        assert receiver.got[0].headers["host"] == f"partner.example:{receiver.port}"
        await sender.close()


async def test_idle_connections_are_bounded_and_closed_in_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.pool.MOST_IDLE", 2)
    monkeypatch.setattr("workers.pool.KEEPALIVE", 0.1)
    monkeypatch.setattr("workers.pool._SWEEP", 0.05)
    sender = Sender("Test", allowed=LOOPBACK)
    receiver.delay = 0.05
    await asyncio.gather(*(sender.send(receiver.url(), {}, b"{}", 2) for _ in range(5)))
    pool: Pool = sender._pool  # pyright: ignore[reportPrivateUsage]
    assert MOST_IDLE > 2
    assert pool.idle == 2
    await eventually(lambda: pool.idle == 0, "they are closed")
    await sender.close()


async def test_of_too_many_idle_connections_that_which_was_used_longest_ago_ends(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else those that were there first would stay, and every busy partner be dialled anew each time."""
    monkeypatch.setattr("workers.pool.MOST_IDLE", 2)
    async with Receiver() as first, Receiver() as second, Receiver() as third:
        for one in (first, second, first, third, first, second):
            await sender.send(one.url(), {}, b"{}", 2)
        assert [one.connections for one in (first, second, third)] == [1, 2, 1]


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_connection_that_changes_hands_at_once_takes_nobodys_answer_along(
    sender: Sender, receiver: Receiver
) -> None:
    """The next request may be written on a kept connection before whoever waited for the last answer has read it."""
    receiver.answers = {f"/{n % 2}": [answer(200 if n % 2 else 500, str(n % 2).encode())] * 400 for n in range(2)}

    async def send(n: int) -> list[tuple[int | None, str | None]]:
        return [
            ((sent := await sender.send(receiver.url(f"/{n % 2}"), {}, b"{}", 5)).status, sent.body) for _ in range(20)
        ]

    for n, answers in enumerate(await asyncio.gather(*(send(n) for n in range(30)))):
        assert answers == [(200, None) if n % 2 else (500, "0")] * 20
