"""Frames: what goes on the wire, read back by parsers that are not the hub's."""

import json
from typing import NamedTuple

import httptools
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Event, Protocol, Side, State

from hub.core import event as events
from hub.core import frames
from hub.core.event import EventInput

LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 200_000]
CURSOR = b"0-1-19a-0"


class Block(NamedTuple):
    """An SSE event as EventSource dispatches it."""

    event: str
    data: str
    last_id: str


class EventSource:
    """The parser of WHATWG HTML, section 9.2.6, step by step."""

    def __init__(self) -> None:
        self.last_id = ""
        self.blocks: list[Block] = []

    def feed(self, stream: bytes) -> "EventSource":
        text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        data: list[str] = []
        name, last_id = "", self.last_id
        for line in text.split("\n")[:-1]:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_id = last_id
                if data:
                    self.blocks.append(Block(name or "message", "\n".join(data), last_id))
                data, name = [], ""
            elif field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id" and "\0" not in value:
                last_id = value
        return self


def receive(stream: bytes) -> list[Event]:
    """What a WebSocket client gets."""
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    client.receive_data(stream)
    if client.parser_exc is not None:
        raise client.parser_exc
    return client.events_received()


def receive_one(stream: bytes) -> Frame:
    [frame] = receive(stream)
    assert isinstance(frame, Frame)
    return frame


def envelope(data: object, subject: str | None = None) -> bytes:
    """A real event's body, from data that its publisher laid out over several lines."""
    raw = msgspec.Raw(json.dumps(data, indent=1, ensure_ascii=False).replace("\n", "\r\n").encode())
    item = EventInput("orders.42", "order.created", raw, subject=subject)
    return events.build(item, id="evt_1", now_ms=0, max_bytes=2**20).body


@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_of_any_length_reads_back(length: int) -> None:
    frame = receive_one(frames.ws_frame(b"a" * length))
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, b"a" * length)


@pytest.mark.parametrize(("length", "head"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_a_frame_has_the_shortest_head(length: int, head: int) -> None:
    assert len(frames.ws_frame(b"a" * length)) == head + length


def test_frames_that_are_joined_read_back_apart() -> None:
    payloads = [b"a" * length for length in LENGTHS]
    received = receive(b"".join(map(frames.ws_frame, payloads)))
    assert [frame.data for frame in received if isinstance(frame, Frame)] == payloads


@given(st.integers(4000, 4999), st.text(st.characters(codec="utf-8"), max_size=200))
def test_a_close_frame_carries_its_code_and_as_much_of_the_reason_as_fits(code: int, reason: str) -> None:
    frame = receive_one(frames.ws_close(code, reason))
    close = Close.parse(frame.data)
    assert frame.opcode is Opcode.CLOSE
    assert close.code == code
    assert reason.startswith(close.reason)
    assert len(reason.encode()) > 123 or close.reason == reason


def test_a_reason_fills_the_close_frame() -> None:
    assert frames.close_reason("a" * 200) == "a" * 123
    assert frames.close_reason("a" + "\N{GRINNING FACE}" * 40) == "a" + "\N{GRINNING FACE}" * 30


@pytest.mark.parametrize("lead", range(4))
def test_a_reason_is_never_cut_inside_a_character(lead: int) -> None:
    reason = "a" * lead + "\N{SNOWMAN}\N{GRINNING FACE}" * 40
    assert reason.startswith(Close.parse(receive_one(frames.ws_close(1012, reason)).data).reason)


@given(st.text())
def test_any_text_can_be_a_reason(text: str) -> None:
    reason = frames.close_reason(text)
    assert len(reason.encode()) <= 123
    assert Close.parse(receive_one(frames.ws_close(1011, text)).data).reason == reason


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_an_event_message_is_json_with_the_event_in_it(room: str, text: str) -> None:
    body = envelope({"text": text}, subject=text)
    message = json.loads(frames.ws_event(json.dumps(room).encode(), CURSOR, body))
    assert message == {"type": "event", "room": room, "cursor": CURSOR.decode(), "event": json.loads(body)}


def test_the_event_in_a_message_is_byte_for_byte_the_events_body() -> None:
    body = envelope({"n": 1})
    assert body in frames.ws_event(b'"r"', CURSOR, body)
    assert body in frames.sse_event(CURSOR, None, body)


def test_an_ephemeral_event_message_has_no_cursor() -> None:
    message = json.loads(frames.ws_event(b'"r"', None, b'{"data":"%b"}'))
    assert message == {"type": "event", "room": "r", "event": {"data": "%b"}}


@given(st.text(st.characters(codec="utf-8")))
def test_an_sse_block_reads_back_whatever_the_event_holds(text: str) -> None:
    body = envelope([text, "\u2028\x85"], subject=text)
    source = EventSource().feed(frames.sse_event(CURSOR, None, body) + frames.sse_event(b"0-1-19a-1", b"a.b", body))
    assert source.blocks == [
        Block("message", body.decode(), CURSOR.decode()),
        Block("a.b", body.decode(), "0-1-19a-1"),
    ]


def test_an_ephemeral_block_leaves_the_last_event_id_alone() -> None:
    source = EventSource().feed(frames.sse_event(CURSOR, None, b"1") + frames.sse_event(None, b"x", b"2"))
    assert source.blocks == [Block("message", "1", CURSOR.decode()), Block("x", "2", CURSOR.decode())]


def test_a_heartbeat_moves_the_last_event_id_and_dispatches_nothing() -> None:
    source = EventSource().feed(frames.sse_event(CURSOR, b"a.b", b"1") + frames.sse_heartbeat(b"0-1-19b-0"))
    assert source.last_id == "0-1-19b-0"
    assert source.blocks == [Block("a.b", "1", CURSOR.decode())]
    assert source.feed(frames.sse_event(None, None, b"2")).blocks[-1] == Block("message", "2", "0-1-19b-0")


class Body:
    """An HTTP/1.1 client that reads a chunked body."""

    def __init__(self) -> None:
        self.data = b""
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def feed(self, stream: bytes) -> "Body":
        self._parser.feed_data(stream)
        return self

    def on_body(self, body: bytes) -> None:
        self.data += body

    def on_message_complete(self) -> None:
        self.complete = True


@given(st.lists(st.binary(max_size=300)))
def test_chunks_read_back_and_only_the_last_one_ends_the_body(payloads: list[bytes]) -> None:
    body = Body().feed(b"".join(map(frames.http_chunk, payloads)))
    assert body.data == b"".join(payloads)
    assert not body.complete
    assert body.feed(frames.LAST_CHUNK).complete


@pytest.mark.parametrize("length", [*LENGTHS, 15, 16, 2**20])
def test_a_chunk_of_any_length_reads_back(length: int) -> None:
    assert Body().feed(frames.http_chunk(b"a" * length)).data == b"a" * length
