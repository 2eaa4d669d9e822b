"""The reader of a client's frames: whole messages whatever the cuts, and a close code for each breach."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from hub.core.messages import MAX_FRAGMENTS, Close, Item, Message, MessageReader, Ping, Violation

MOST = 1000


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    """A frame as the package `websockets` writes it."""
    return Frame(opcode, data, fin).serialize(mask=mask)


def read(data: bytes, cuts: list[int] | None = None) -> list[Item]:
    reader = MessageReader(MOST)
    items: list[Item] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or ()), len(data)]
    for start, end in itertools.pairwise(edges):
        reader.feed(data[start:end], items, 10_000)
    return items


def violation(data: bytes) -> int:
    with pytest.raises(Violation) as caught:
        read(data)
    return caught.value.code


messages = st.lists(st.one_of(st.text(max_size=150), st.binary(max_size=150)), min_size=1, max_size=6)


@given(messages, st.lists(st.integers(0, 10_000), max_size=12), st.integers(1, 50), st.booleans())
def test_messages_come_whole_and_in_order_whatever_the_fragments_and_the_cuts(
    sent: list[str | bytes], cuts: list[int], piece: int, pings: bool
) -> None:
    wire = b""
    expected: list[Item] = []
    for message in sent:
        data = message.encode() if isinstance(message, str) else message
        pieces = [data[start : start + piece] for start in range(0, len(data), piece)] or [b""]
        for n, part in enumerate(pieces):
            first = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
            wire += frame(first if n == 0 else Opcode.CONT, part, fin=n == len(pieces) - 1)
            if pings and n < len(pieces) - 1:
                wire += frame(Opcode.PING, b"amid")
                expected.append(Ping(b"amid"))
        expected.append(Message(data))
    assert read(wire, cuts) == expected


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_arbitrary_bytes_are_items_or_a_violation(data: bytes, cuts: list[int]) -> None:
    outcome: list[Item] | int
    try:
        outcome = read(data, cuts)
    except Violation as exc:
        outcome = exc.code
    assert isinstance(outcome, list) or outcome in (1002, 1007, 1008, 1009)


def test_what_came_before_a_violation_is_kept() -> None:
    reader = MessageReader(MOST)
    items: list[Item] = []
    with pytest.raises(Violation):
        reader.feed(frame(Opcode.TEXT, b"good") + frame(Opcode.TEXT, b"bad", mask=False), items, 10)
    assert items == [Message(b"good")]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(Opcode.TEXT, b"x", mask=False), 1002),
        (bytes([0xC1, 0x80]), 1002),
        (bytes([0x83, 0x80]), 1002),
        (frame(Opcode.CONT, b"x"), 1002),
        (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"), 1002),
        (bytes([0x09, 0x80]), 1002),
        (bytes([0x89, 0xFE]), 1002),
        (frame(Opcode.CLOSE, b"\x03"), 1002),
        (frame(Opcode.CLOSE, (1005).to_bytes(2)), 1002),
        (frame(Opcode.CLOSE, (1006).to_bytes(2)), 1002),
        (frame(Opcode.CLOSE, (2999).to_bytes(2)), 1002),
        (frame(Opcode.CLOSE, (1000).to_bytes(2) + b"\xff"), 1007),
        (frame(Opcode.TEXT, b"\xff"), 1007),
        (frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONT, b"x"), 1007),
        (frame(Opcode.TEXT, b"x" * (MOST + 1)), 1009),
        (frame(Opcode.TEXT, b"x" * MOST, fin=False) + frame(Opcode.CONT, b"x"), 1009),
        (bytes([0x81, 0xFF]) + (2**63).to_bytes(8), 1009),
        (frame(Opcode.TEXT, b"", fin=False) + frame(Opcode.CONT, b"", fin=False) * MAX_FRAGMENTS, 1008),
    ],
    ids=itertools.count(1),
)
def test_each_breach_has_its_close_code(wire: bytes, code: int) -> None:
    assert violation(wire) == code


def test_too_long_a_message_is_refused_by_its_head_before_its_bytes_come() -> None:
    reader = MessageReader(MOST)
    with pytest.raises(Violation) as caught:
        reader.feed(frame(Opcode.BINARY, b"x" * (MOST + 1))[:4], [], 10)
    assert caught.value.code == 1009


@pytest.mark.parametrize("wrong", [b"\xff", b"\xed\xa0\x80", b"\xf4\x90", b"\xc0\x80"])
def test_text_that_is_not_utf8_is_refused_at_the_fragment_that_shows_it(wrong: bytes) -> None:
    reader = MessageReader(MOST)
    reader.feed(frame(Opcode.TEXT, b"fine \xf0\x9f", fin=False) + frame(Opcode.CONT, b"\x99\x82", fin=False), [], 9)
    with pytest.raises(Violation) as caught:
        reader.feed(frame(Opcode.CONT, wrong, fin=False), [], 9)
    assert caught.value.code == 1007
    reader = MessageReader(MOST)
    items: list[Item] = []
    reader.feed(frame(Opcode.BINARY, wrong, fin=False) + frame(Opcode.CONT, wrong), items, 9)
    assert items == [Message(wrong * 2)]


def test_a_character_split_between_fragments_is_whole() -> None:
    wire = frame(Opcode.TEXT, "ü".encode()[:1], fin=False) + frame(Opcode.CONT, "ü".encode()[1:])
    assert read(wire) == [Message("ü".encode())]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1014, 3000, 4999])
def test_a_close_carries_its_code_and_reason(code: int) -> None:
    assert read(frame(Opcode.CLOSE, code.to_bytes(2) + b"bye")) == [Close(code, "bye")]


def test_a_close_without_a_code_is_1005_and_nothing_behind_it_is_read() -> None:
    assert read(frame(Opcode.CLOSE, b"") + frame(Opcode.TEXT, b"late")) == [Close(1005, "")]


def test_more_frames_than_allowed_are_refused_after_those_that_are() -> None:
    reader = MessageReader(MOST)
    items: list[Item] = []
    wire = frame(Opcode.TEXT, b"a") + frame(Opcode.PONG, b"") + frame(Opcode.TEXT, b"b")
    assert reader.feed(wire, items, 3) == 3
    with pytest.raises(Violation) as caught:
        reader.feed(wire, items, 2)
    assert caught.value.code == 4029
    assert items == [Message(b"a"), Message(b"b"), Message(b"a")]


def test_a_large_message_in_tiny_pieces_costs_its_bytes_once() -> None:
    size = 512 * 1024
    wire = frame(Opcode.BINARY, b"x" * size)
    reader = MessageReader(size)
    items: list[Item] = []
    began = time.process_time()
    for start in range(0, len(wire), 8):
        reader.feed(wire[start : start + 8], items, 1)
    assert items == [Message(b"x" * size)]
    assert time.process_time() - began < 1  # copied anew for each piece it would be 16 GiB
