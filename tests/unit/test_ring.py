"""The ring on real sockets: each send ends like a `send()` of its own, and nothing outlives the call."""

import ctypes
import errno
import os
import socket
import subprocess
from array import array
from collections.abc import Iterator

import pytest

from hub.live.ring import ENTRIES, NO_SEND, STAGE_BYTES, Ring, head

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    try:
        made = Ring()
    except OSError as exc:
        pytest.skip(f"io_uring is refused here: {exc}")
    yield made
    made.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(20)]
    for pair in made:
        for end in pair:
            end.setblocking(False)
    yield made
    for pair in made:
        for end in pair:
            end.close()


def heads(pairs: list[Pair]) -> "array[int]":
    return array("Q", [head(ours.fileno()) for ours, _ in pairs])


def fill(sock: socket.socket) -> bytes:
    """Write until the socket takes no more."""
    written = b""
    while True:
        try:
            written += b"f" * sock.send(b"f" * 4096)
        except BlockingIOError:
            return written


def read_all(sock: socket.socket) -> bytes:
    got = b""
    while True:
        try:
            piece = sock.recv(1 << 20)
        except BlockingIOError:
            return got
        if not piece:
            return got
        got += piece


def test_everyone_gets_the_bytes(ring: Ring, pairs: list[Pair]) -> None:
    assert ring.add(heads(pairs), b"hello")
    assert ring.send() == []
    assert [read_all(theirs) for _, theirs in pairs] == [b"hello"] * len(pairs)


def test_one_call_sends_different_bytes_to_different_sockets(ring: Ring, pairs: list[Pair]) -> None:
    for n, pair in enumerate(pairs):
        assert ring.add(heads([pair]), b"%d" % n * (n + 1))
    assert ring.send() == []
    assert [read_all(theirs) for _, theirs in pairs] == [b"%d" % n * (n + 1) for n in range(len(pairs))]


def test_the_bytes_may_change_as_soon_as_the_call_has_returned(ring: Ring, pairs: list[Pair]) -> None:
    for text in (b"first", b"other"):
        assert ring.add(heads(pairs), text)
        assert ring.send() == []
    assert {read_all(theirs) for _, theirs in pairs} == {b"firstother"}


def test_the_queues_go_round_and_round(ring: Ring, pairs: list[Pair]) -> None:
    """Both wrap at sizes that the numbers of sends here don't divide."""
    for n in range(200):
        some = pairs[: n % len(pairs) + 1]
        assert ring.add(heads(some), b"%05d" % n)
        failed = array("Q", [NO_SEND] * (n % 3))
        assert ring.add(failed, b"nobody")
        assert ring.send() == [(len(some) + slot, -errno.EBADF) for slot in range(n % 3)]
        assert [read_all(theirs) for _, theirs in pairs] == [b"%05d" % n] * len(some) + [b""] * (len(pairs) - len(some))


def test_a_full_ring_and_a_full_stage_say_so_and_keep_what_they_have(ring: Ring, pairs: list[Pair]) -> None:
    assert ring.add(heads(pairs) * (ENTRIES // len(pairs)), b"x")
    assert not ring.add(heads(pairs), b"y")
    assert ring.send() == []
    assert ring.add(heads(pairs[:1]), b"z" * (STAGE_BYTES - 10))
    assert not ring.add(heads(pairs[:1]), b"12345678901")
    assert {slot for slot, _ in ring.send()} <= {0}  # that many bytes may not fit into the socket
    assert read_all(pairs[1][1]) == b"x" * (ENTRIES // len(pairs))


def test_a_socket_that_is_full_takes_nothing_and_holds_up_nobody(ring: Ring, pairs: list[Pair]) -> None:
    before = fill(pairs[3][0])
    assert ring.add(heads(pairs), b"hello")
    assert ring.send() == [(3, -errno.EAGAIN)]
    assert read_all(pairs[3][1]) == before
    assert [read_all(theirs) for _, theirs in pairs[4:]] == [b"hello"] * len(pairs[4:])


def test_a_socket_with_room_for_a_part_says_how_many_bytes_it_took(ring: Ring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setblocking(False)
        data = os.urandom(STAGE_BYTES)
        assert ring.add(array("Q", [head(ours.fileno())]), data)
        ((slot, taken),) = ring.send()
        assert slot == 0
        assert 0 < taken < len(data)
        got = b""
        while len(got) < taken:
            got += theirs.recv(65536)
        theirs.setblocking(False)
        assert got + read_all(theirs) == data[:taken]


def test_a_client_that_is_gone_and_a_descriptor_that_is_closed_fail_alone(ring: Ring, pairs: list[Pair]) -> None:
    pairs[1][1].close()
    to = heads(pairs)
    pairs[2][0].close()
    to[4] = NO_SEND
    assert ring.add(to, b"hello")
    assert ring.send() == [(1, -errno.EPIPE), (2, -errno.EBADF), (4, -errno.EBADF)]
    others = [pair for n, pair in enumerate(pairs) if n not in (1, 2, 4)]
    assert {read_all(theirs) for _, theirs in others} == {b"hello"}


def test_a_reset_connection_says_so(ring: Ring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        theirs.close()
        assert ring.add(array("Q", [head(ours.fileno())]), b"hello")
        assert ring.send() in ([(0, -errno.ECONNRESET)], [(0, -errno.EPIPE)])


def test_what_the_kernel_does_not_take_counts_as_not_sent_and_leaves_no_trace(
    ring: Ring, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is short of memory takes the first ones of a call, or none."""
    real = ring.call
    answers = [3, -1]

    def scarce(call: int, fd: int, submit: int, complete: int, flags: int, *rest: int) -> int:
        if not answers:
            return int(real(call, fd, submit, complete, flags, *rest))
        taken = answers.pop(0)
        if taken < 0:
            ctypes.set_errno(errno.EAGAIN)
            return -1
        return int(real(call, fd, taken, complete, flags, *rest))

    monkeypatch.setattr(ring, "call", scarce)
    assert ring.add(heads(pairs), b"hello")
    assert ring.send() == [(slot, -errno.EAGAIN) for slot in range(3, len(pairs))]
    assert [read_all(theirs) for _, theirs in pairs] == [b"hello"] * 3 + [b""] * (len(pairs) - 3)
    assert ring.add(heads(pairs), b"again")
    assert ring.send() == []
    assert {read_all(theirs) for _, theirs in pairs} == {b"again"}


def test_a_signal_does_not_end_a_call(ring: Ring, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    real = ring.call
    interrupted = [True]

    def call(*args: int) -> int:
        if interrupted:
            interrupted.clear()
            ctypes.set_errno(errno.EINTR)
            return -1
        return int(real(*args))

    monkeypatch.setattr(ring, "call", call)
    assert ring.add(heads(pairs), b"hello")
    assert ring.send() == []
    assert {read_all(theirs) for _, theirs in pairs} == {b"hello"}


def test_a_closed_connection_is_closed_for_the_client_at_once(ring: Ring, pairs: list[Pair]) -> None:
    """The ring holds no descriptor of its own: the client sees the end when ours is closed."""
    assert ring.add(heads(pairs), b"hello")
    assert ring.send() == []
    for ours, theirs in pairs:
        ours.close()
        assert theirs.recv(100) == b"hello"
        assert theirs.recv(100) == b""


def test_a_closed_ring_leaves_no_descriptor_behind_and_an_open_one_is_not_inherited() -> None:
    before = set(os.listdir("/proc/self/fd"))
    try:
        made = Ring()
    except OSError as exc:
        pytest.skip(f"io_uring is refused here: {exc}")
    own = [int(name) for name in set(os.listdir("/proc/self/fd")) - before if os.path.exists(f"/proc/self/fd/{name}")]
    assert own
    assert not any(os.get_inheritable(descriptor) for descriptor in own)
    made.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_program_that_is_started_meanwhile_changes_nothing(ring: Ring, pairs: list[Pair]) -> None:
    assert ring.add(heads(pairs), b"hello")
    subprocess.run(["true"], check=True)
    assert ring.send() == []
    assert {read_all(theirs) for _, theirs in pairs} == {b"hello"}
