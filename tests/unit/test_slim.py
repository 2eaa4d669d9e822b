"""The protocols of live connections, on real sockets and the event loop that the hub runs on."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Self

import pytest
import uvloop

from hub.core import frames
from hub.live.connection import RawConnection
from hub.web import slim as slims
from hub.web.slim import INBOX_MESSAGES, LINGER_BYTES, Slim, SlimStream, SlimWebSocket
from tests.support.raw_ws import CLOSE, PING, PONG, TEXT, frame
from tests.support.waiting import eventually

MIB = 1024 * 1024
GOODBYE = frame(CLOSE, (1000).to_bytes(2), key=b"\0\0\0\0")


class Talk:
    """A conversation that handles a message for each permit it gets."""

    def __init__(self) -> None:
        self.handled: list[bytes] = []
        self.permits = asyncio.Semaphore(0)
        self.ended = 0

    async def handle(self, data: bytes) -> None:
        await self.permits.acquire()
        if data == b"fail":
            raise ValueError(data)
        self.handled.append(data)

    def end(self) -> None:
        self.ended += 1

    def permit(self, count: int) -> None:
        for _ in range(count):
            self.permits.release()


class Pair:
    """A live connection and the client's end of it, which reads only when it is told to."""

    def __init__(self, slim: Slim, connection: RawConnection, client: socket.socket, everyone: set[Any]) -> None:
        self.slim, self.connection, self.client, self._everyone = slim, connection, client, everyone
        self.talk = Talk()
        self.sent = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, kind: type[Slim], *, rate: int = 1_000_000) -> AsyncGenerator[Self]:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it some 4.6 KB
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        everyone: set[Any] = set()
        if kind is SlimWebSocket:
            slim = SlimWebSocket(transport, everyone, MIB, rate)
        else:
            slim = SlimStream(transport, everyone)
        transport.set_protocol(slim)
        pair = cls(slim, RawConnection(slim, "ws" if kind is SlimWebSocket else "sse", 3600), theirs, everyone)
        if isinstance(slim, SlimWebSocket):
            slim.serve(pair.talk, b"")
        else:
            slim.serve(pair.talk)
        try:
            yield pair
        finally:
            transport.abort()
            await eventually(lambda: pair.is_gone, "it has gone")
            assert pair.talk.ended == 1
            theirs.close()

    @property
    def is_gone(self) -> bool:
        return not self._everyone

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.client, data), 5)

    async def send_until_full(self, data: bytes, most: int) -> bool:
        """Send again and again; True once nothing was taken for a moment, False after `most` bytes."""
        idle = 0
        while self.sent < most and idle < 50:
            try:
                self.sent += self.client.send(data)
                idle = 0
            except BlockingIOError:
                idle += 1
                await asyncio.sleep(0.002)
        return idle == 50

    async def read(self, size: int) -> bytes:
        came = b""
        while len(came) < size:
            piece = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.client, size - len(came)), 5)
            assert piece, came
            came += piece
        return came

    async def rest(self) -> bytes:
        """What comes until the end."""
        came = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.client, MIB), 5):
                came += piece
        return came

    async def fill(self) -> None:
        """Write more than the client's kernel takes."""
        while not self.slim.transport.get_write_buffer_size():
            self.connection.write(b"x" * 4096)
            await asyncio.sleep(0)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def played() -> None:
        await scene()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(played())


# -- the inbox ---------------------------------------------------------------------------------------------------------


def test_while_messages_wait_nothing_more_is_read_from_who_sends_them_and_none_is_lost() -> None:
    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            message = frame(TEXT, b"x" * 4000, key=b"\0\0\0\0")
            assert await pair.send_until_full(message, 4 * MIB)
            assert pair.sent < (INBOX_MESSAGES + 4) * len(message) + 256 * 1024
            total = -(-pair.sent // len(message))
            if pair.sent % len(message):
                pair.talk.permit(2)  # below the bound again, so the rest of the last one is taken
                await pair.send(message[pair.sent % len(message) :])
            pair.talk.permit(total)
            await eventually(lambda: len(pair.talk.handled) == total, "all are handled")
            assert set(pair.talk.handled) == {b"x" * 4000}
            pair.talk.permit(1)
            await pair.send(frame(TEXT, b"last"))
            await eventually(lambda: pair.talk.handled[-1] == b"last", "it goes on")

    play(scene)


def test_as_soon_as_the_inbox_has_room_again_it_is_read_on_though_others_still_wait() -> None:
    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            await pair.send(frame(TEXT, b"waits") * (INBOX_MESSAGES + 1))
            await eventually(lambda: not pair.slim.transport.is_reading(), "nothing is read any more")  # pyright: ignore[reportAttributeAccessIssue]
            pair.talk.permit(2)
            await eventually(pair.slim.transport.is_reading, "it is read on")  # pyright: ignore[reportAttributeAccessIssue]
            assert len(pair.talk.handled) == 2
            await pair.send(frame(PING, b"heard"))
            assert await pair.read(7) == frames.ws_frame(b"heard", frames.PONG)

    play(scene)


def test_a_message_that_cant_be_handled_ends_the_connection_with_1011() -> None:
    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            pair.talk.permit(5)
            await pair.send(frame(TEXT, b"fine") + frame(TEXT, b"fail") + frame(TEXT, b"not handled"))
            assert await pair.read(4) == frames.ws_close(1011, "internal error")[:4]
            await pair.send(GOODBYE)
            await pair.rest()
            assert pair.talk.handled == [b"fine"]
            assert pair.connection.ended == (1011, "internal error")

    play(scene)


def test_who_was_quiet_for_long_may_send_ten_seconds_worth_at_once_and_no_more() -> None:
    async def scene() -> None:
        async with Pair.of(SlimWebSocket, rate=50) as pair:
            await pair.send(frame(PONG))
            await asyncio.sleep(0.5)  # worth 25 more, if what is not used were saved up for ever
            await pair.send(frame(PONG) * 520)  # one read, so that none of it is made up for meanwhile
            assert (await pair.rest())[2:4] == (4029).to_bytes(2)
        async with Pair.of(SlimWebSocket, rate=50) as pair:
            await pair.send(frame(PONG) * 499 + frame(PING, b"heard"))
            assert await pair.read(7) == frames.ws_frame(b"heard", frames.PONG)

    play(scene)


def test_what_waits_when_the_hub_closes_is_not_carried_out() -> None:
    """Whoever was just revoked publishes nothing more."""

    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            pair.talk.permit(1)
            await pair.send(frame(TEXT, b"carried out") + frame(TEXT, b"begun") + frame(TEXT, b"waits") * 3)
            await eventually(lambda: pair.talk.handled == [b"carried out"], "the second is begun")
            pair.connection.close(4001, "revoked")
            pair.talk.permit(9)
            await pair.send(frame(TEXT, b"too late") + GOODBYE)
            await pair.rest()
            assert pair.talk.handled == [b"carried out", b"begun"]

    play(scene)


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SlimWebSocket, SlimStream])
def test_who_does_not_take_its_close_is_cut_off(monkeypatch: pytest.MonkeyPatch, kind: type[Slim]) -> None:
    monkeypatch.setattr(slims, "FORCE_AFTER", 0.05)

    async def scene() -> None:
        async with Pair.of(kind) as pair:
            await pair.fill()
            pair.connection.close(1012, "retry=1")
            await eventually(lambda: pair.is_gone, "it is cut off", 3)

    play(scene)


def test_who_does_not_answer_a_close_is_cut_off_and_who_does_is_not_kept_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            pair.connection.close(1012, "retry=1")
            pair.connection.close(4009, "once is enough")
            assert await pair.read(11) == frames.ws_close(1012, "retry=1")
            await pair.send(frame(TEXT, b"not handled") + frame(PING, b"not answered") + GOODBYE)
            began = time.monotonic()
            assert await pair.rest() == b""
            assert time.monotonic() - began < 1
            assert pair.talk.handled == []
        monkeypatch.setattr(slims, "FORCE_AFTER", 0.05)
        async with Pair.of(SlimWebSocket) as pair:
            pair.connection.close(1012, "retry=1")
            assert await pair.rest() == frames.ws_close(1012, "retry=1")

    play(scene)


def test_who_closes_but_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slims, "FORCE_AFTER", 0.05)

    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            await pair.fill()
            await pair.send(GOODBYE)
            await eventually(lambda: pair.connection.closed, "nothing is written any more")
            assert not pair.is_gone
            await eventually(lambda: pair.is_gone, "it is cut off", 3)

    play(scene)


def test_how_long_a_client_has_been_behind_is_known_and_forgotten_when_it_has_caught_up() -> None:
    async def scene() -> None:
        async with Pair.of(SlimStream) as pair:
            loop = asyncio.get_running_loop()
            assert pair.connection.slow_for(loop.time()) == 0
            await asyncio.wait_for(pair.connection.drained(), 1)
            written = 0
            while not pair.connection.slow_for(loop.time() + 9):  # the loop's clock goes by milliseconds
                pair.connection.write(b"x" * 4096)
                written += 4096
                await asyncio.sleep(0)
            waiting = asyncio.ensure_future(pair.connection.drained())
            await asyncio.sleep(0)
            assert not waiting.done()
            assert pair.connection.slow_for(loop.time() + 9) >= 9
            await pair.read(written)
            await asyncio.wait_for(waiting, 5)
            assert pair.connection.slow_for(loop.time()) == 0

    play(scene)


def test_a_close_is_heard_though_messages_wait() -> None:
    """Reading goes on for the client's answer, which lies behind what was not read yet."""

    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            await pair.send(frame(TEXT, b"waits") * (INBOX_MESSAGES + 1))
            await eventually(lambda: not pair.slim.transport.is_reading(), "nothing is read any more")  # pyright: ignore[reportAttributeAccessIssue]
            sending = asyncio.ensure_future(pair.send(frame(TEXT, b"x" * 20_000) + GOODBYE))
            pair.connection.close(4001, "revoked")
            assert await pair.rest() == frames.ws_close(4001, "revoked")
            await sending

    play(scene)


def test_who_broke_the_protocol_is_heard_out_up_to_a_limit() -> None:
    async def scene() -> None:
        async with Pair.of(SlimWebSocket) as pair:
            await pair.send(b"\xff" * 20)
            assert (await pair.rest())[2:4] == (1002).to_bytes(2)  # the end of what the hub says, too
            assert not await pair.send_until_full(b"x" * 4096, MIB)
            assert not pair.is_gone
            with contextlib.suppress(ConnectionError):
                await pair.send_until_full(b"x" * 4096, 4 * LINGER_BYTES)
            await eventually(lambda: pair.is_gone, "it is cut off", 3)
            assert pair.sent < LINGER_BYTES + MIB

    play(scene)


def test_a_second_request_behind_a_stream_ends_it() -> None:
    async def scene() -> None:
        async with Pair.of(SlimStream) as pair:
            pair.connection.send(b"id: 1\n\n")
            await pair.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await pair.rest() == frames.http_chunk(b"id: 1\n\n")
            assert pair.connection.closed
        async with Pair.of(SlimStream) as pair:
            await pair.fill()
            await pair.send(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(lambda: pair.connection.closed, "nothing is written any more")
            assert not pair.is_gone

    play(scene)
