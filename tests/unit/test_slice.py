"""Slices on real sockets and transports, with a ring and without: what a client reads is what was written to it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.live import slice as slices
from hub.live.connection import Connection, RawConnection
from hub.live.rooms import Room, RoomKey
from hub.live.slice import Slice, open_slice
from hub.web.slim import SlimStream
from tests.support.waiting import eventually

KEY = RoomKey("app", ("a.b",), (), "sse", framed=True)


@dataclass(eq=False)
class Client:
    """A connection of the hub's and the client's end of it."""

    connection: RawConnection
    socket: socket.socket
    told: bytes = b""
    """What was written to it."""
    got: bytes = b""
    gone: bool = False

    def read(self) -> None:
        while not self.gone:
            try:
                piece = self.socket.recv(1 << 20)
            except BlockingIOError:
                return
            except ConnectionResetError:
                piece = b""
            self.gone = not piece
            self.got += piece

    def cut(self) -> None:
        self.gone = True
        self.socket.close()

    def say(self, data: bytes) -> None:
        """What isn't an event: an answer, a heartbeat."""
        if not self.connection.closed:
            self.told += data
            self.connection.write(data)


@dataclass
class Hall:
    """One room, its members, and a slice that writes to them."""

    out: Slice
    room: Room = field(default_factory=lambda: Room(KEY))
    clients: list[Client] = field(default_factory=list[Client])
    slims: set[SlimStream] = field(default_factory=set[SlimStream])

    async def enter(self) -> Client:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it some 4.6 KB
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        slim = SlimStream(transport, self.slims)
        transport.set_protocol(slim)
        client = Client(RawConnection(slim, "sse", 3600), theirs)
        client.say(b"hello\n")
        self.room.sit(client.connection)
        self.clients.append(client)
        return client

    def leave(self, client: Client) -> None:
        if client.connection.seat is not None:
            self.room.stand(client.connection)

    async def publish(self, data: bytes, between: Callable[[], Awaitable[None]] | None = None) -> None:
        """As the gateway does; `between` is what happens when the loop breathes."""
        self.room.close_up()
        self.out.begin()
        seats, first = self.room.seats, 0
        while first < len(seats.members):
            for client in self.seated(first, first + self.out.left):
                client.told += data
            first = self.out.add(seats, first, data)
            if not self.out.left:
                self.out.send()
                if between is not None:
                    await between()
        self.out.send()

    def seated(self, first: int, end: int) -> list[Client]:
        here = {id(member) for member in self.room.seats.members[first:end] if member is not None}
        return [client for client in self.clients if id(client.connection) in here]

    async def read_all(self) -> None:
        """Until everything that was written has been read."""
        for _ in range(1000):
            for client in self.clients:
                client.read()
            await asyncio.sleep(0.001)
            if all(one.gone or one.connection.closed or len(one.got) >= len(one.told) for one in self.clients):
                return
        raise AssertionError("what was written does not arrive")

    async def close(self) -> None:
        for slim in list(self.slims):
            slim.transport.abort()
        await eventually(lambda: not self.slims, "all have gone")
        for client in self.clients:
            client.socket.close()
        self.out.close()


@pytest.fixture(params=["ring", "one by one"])
def out(request: pytest.FixtureRequest) -> Slice:
    return made(request.param == "ring")


def made(ring: bool) -> Slice:
    out = open_slice(ring)
    if ring and out.how != "io_uring":
        pytest.skip("io_uring is refused here")
    return out


def play(out: Slice, scene: Callable[[Hall], Awaitable[None]]) -> None:
    """On the event loop that the hub runs on."""

    async def played() -> None:
        hall = Hall(out)
        try:
            await scene(hall)
        finally:
            await hall.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(played())


def test_a_refused_ring_is_said_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(slices, "Ring", refuse)
    assert open_slice(True).how == "send"


def test_everyone_gets_every_event_in_order(out: Slice) -> None:
    async def scene(hall: Hall) -> None:
        for _ in range(20):
            await hall.enter()
        for n in range(50):
            await hall.publish(b"event %d\n" % n)
        await hall.read_all()
        assert {client.got for client in hall.clients} == {b"hello\n" + b"".join(b"event %d\n" % n for n in range(50))}

    play(out, scene)


def test_who_falls_behind_gets_all_in_order_and_is_sent_to_straight_again(out: Slice) -> None:
    async def scene(hall: Hall) -> None:
        clients = [await hall.enter() for _ in range(10)]
        slow = clients[4]
        for n in range(60):
            await hall.publish(b"%04d" % n * 100)
            for client in clients:
                if client is not slow:
                    client.read()
        assert hall.room.seats.aside == {4}
        assert slow.connection.direct is None
        await hall.read_all()
        await hall.publish(b"the last")
        await hall.read_all()
        assert not hall.room.seats.aside
        assert [client.got for client in clients] == [client.told for client in clients]

    play(out, scene)


def test_a_client_that_is_gone_costs_nobody_an_event_and_nobody_gets_its_descriptor(out: Slice) -> None:
    async def scene(hall: Hall) -> None:
        clients = [await hall.enter() for _ in range(10)]
        lost = clients[3]
        number = lost.connection.direct
        lost.cut()
        await hall.publish(b"first\n")  # finds that it is gone
        assert lost.connection.closed
        await eventually(lambda: len(hall.slims) < len(clients), "its descriptor is closed")
        stranger, other = socket.socketpair()
        with stranger, other:
            assert stranger.fileno() == number, "the descriptor's number is given to the next one"
            await hall.publish(b"second\n")
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(100)
        await hall.read_all()
        assert {one.got for one in clients if one is not lost} == {b"hello\nfirst\nsecond\n"}

    play(out, scene)


def test_who_leaves_between_two_slices_gets_nothing_more(out: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 5)

    async def scene(hall: Hall) -> None:
        clients = [await hall.enter() for _ in range(12)]

        async def between() -> None:
            for index in (1, 6, 7):
                hall.leave(clients[index])

        await hall.publish(b"first\n", between)
        await hall.publish(b"second\n")
        await hall.read_all()
        got = [client.got.removeprefix(b"hello\n") for client in clients]
        expected = [b"first\nsecond\n"] * 12
        expected[1], expected[6], expected[7] = b"first\n", b"", b""
        assert got == expected
        assert len(hall.room.seats.members) == len(hall.room.seats) == 9

    play(out, scene)


def test_large_events_and_more_than_the_stage_holds_arrive_whole(out: Slice) -> None:
    async def scene(hall: Hall) -> None:
        rooms = [Room(KEY) for _ in range(12)]
        for room in rooms:
            hall.room = room
            for _ in range(4):
                await hall.enter()
        for size in (40_000, 100_000):
            for n, room in enumerate(rooms):  # one slice over all rooms
                data = b"%02d" % n * (size // 2)
                for client in hall.clients[4 * n : 4 * n + 4]:
                    client.told += data
                hall.out.add(room.seats, 0, data)
            hall.out.send()
            await hall.read_all()
        assert [client.got for client in hall.clients] == [client.told for client in hall.clients]

    play(out, scene)


def test_connections_without_a_raw_path_are_written_to_as_well(out: Slice) -> None:
    class Plain(Connection):
        """One that is written to by another server."""

        def __init__(self) -> None:
            super().__init__("sse", 3600)
            self.got: list[bytes] = []
            self.write = self.got.append

    async def scene(hall: Hall) -> None:
        plain = Plain()
        for _ in range(5):
            await hall.enter()
        hall.room.sit(plain)
        await hall.publish(b"event\n")
        await hall.read_all()
        assert plain.got == [b"event\n"]
        assert {client.got for client in hall.clients} == {b"hello\nevent\n"}

    play(out, scene)


ACTS = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 9000)),
    st.tuples(st.just("publish"), st.integers(1, 200)),
    st.tuples(st.sampled_from(["read", "leave", "answer", "cut"]), st.integers(0, 30)),
    st.tuples(st.sampled_from(["enter", "turn"]), st.just(0)),
)


@pytest.mark.parametrize("ring", [True, False], ids=["ring", "one by one"])
@settings(max_examples=60, deadline=None)
@given(acts=st.lists(ACTS, min_size=10, max_size=60), between=st.lists(ACTS, max_size=5))
def test_whatever_happens_in_between_a_client_reads_what_was_written_to_it(
    ring: bool, acts: list[tuple[str, int]], between: list[tuple[str, int]]
) -> None:
    """The model is a string per client. `between` happens amid each event, where seats are left but not taken."""

    async def act(hall: Hall, what: str, number: int) -> None:
        client = hall.clients[number % len(hall.clients)]
        if what == "read":
            client.read()
        elif what == "leave":
            hall.leave(client)
        elif what == "answer":
            client.say(b"<answer %d>" % number)
        elif what == "cut":
            client.cut()
        elif what == "turn":
            await asyncio.sleep(0)

    async def scene(hall: Hall) -> None:
        for _ in range(8):
            await hall.enter()

        async def amid() -> None:
            for what, number in between:
                if what != "publish":
                    await act(hall, what, number)

        for n, (what, number) in enumerate(acts):
            if what == "publish":
                await hall.publish((b"[%d]" % n * number)[:number], amid)
            elif what == "enter":
                await hall.enter()
            else:
                await act(hall, what, number)
        await hall.read_all()
        for client in hall.clients:
            assert client.told.startswith(client.got) if client.gone else client.got == client.told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE", 5)
        play(made(ring), scene)
