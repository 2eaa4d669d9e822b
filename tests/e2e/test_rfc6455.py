"""The WebSocket protocol by the letter of RFC 6455, frame by frame.

The cases are those of the Autobahn test suite (1 to 7, 9, 10) that concern a server without compression, on raw
sockets; of 12 and 13, compression, that it is not agreed to.
"""

import json
import zlib

import pytest

from tests.support.hub import Hub, auth, token
from tests.support.raw_ws import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    RawWs,
    ask,
    fragments,
    frame,
    request,
    say,
)

MIB = 1024 * 1024
SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, MIB]


def code_of(number: int, reason: bytes = b"") -> bytes:
    return number.to_bytes(2, "big") + reason


async def test_messages_of_every_form_of_length_are_taken(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        for opcode in (TEXT, BINARY):
            for size in SIZES:
                if size < 30:
                    raw.send(frame(opcode, b"5" * size))
                    assert (await raw.message())["type"] == "error"
                else:
                    raw.send(frame(opcode, ask("n", size)))
                    assert await raw.message() == {"type": "pong", "ref": "n"}


async def test_answers_of_every_form_of_length_are_framed_right(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        for size in (1, 60, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 65000, 65530, 70000):
            ref = "x" * size
            raw.send(say(ref))
            assert (await raw.message())["ref"] == ref


async def test_any_mask_is_taken_zero_included(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"{{{{"):
            for padding in range(5):  # every alignment of the end
                raw.send(frame(TEXT, ask("m", 40 + padding), key=key))
                assert (await raw.message())["ref"] == "m"


async def test_frames_may_come_byte_by_byte_and_many_at_once(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        await raw.chop(frame(PING, b"12") + say("slow", 200) + say("x" * 10))
        assert await raw.frame() == (PONG, b"12")
        assert (await raw.message())["ref"] == "slow"
        assert (await raw.message())["ref"] == "x" * 10
        for n in range(10):
            await raw.chop(frame(PING, b"%d" % n * 125))
        assert [await raw.frame() for _ in range(10)] == [(PONG, b"%d" % n * 125) for n in range(10)]
        raw.send(*(say(str(n)) for n in range(200)))
        assert [(await raw.message())["ref"] for _ in range(200)] == [str(n) for n in range(200)]


async def test_a_large_message_may_come_in_odd_pieces(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        await raw.chop(say("large", 300_000) + frame(PING, b"after"), 997)
        got = [await raw.frame(), await raw.frame()]  # a ping overtakes what the hub is busy with
        assert (PONG, b"after") in got
        assert any(json.loads(each.payload) == {"type": "pong", "ref": "large"} for each in got if each.opcode == TEXT)


async def test_pings_are_answered_in_order_with_their_payload(hub: Hub) -> None:
    payloads = [b"", b"1", bytes(range(125)), b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", *(b"%d" % n for n in range(10))]
    async with RawWs.open(hub) as raw:
        raw.send(*(frame(PING, payload) for payload in payloads))
        assert [await raw.frame() for _ in payloads] == [(PONG, payload) for payload in payloads]
        await raw.lives()


async def test_unasked_pongs_are_ignored(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(PONG), frame(PONG, b"unasked"), frame(PONG, b"x" * 125), frame(PING, b"asked"))
        assert await raw.frame() == (PONG, b"asked")
        await raw.lives()


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_control_frames_over_125_bytes_and_fragmented_ones_fail_the_connection(hub: Hub, opcode: int) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(opcode, code_of(1000) + b"x" * 124))
        await raw.fails(1002)
    async with RawWs.open(hub) as raw:
        raw.send(frame(opcode, code_of(1000), fin=False), frame(CONT, b"rest"))
        await raw.fails(1002)


@pytest.mark.parametrize("rsv", range(1, 8))
async def test_reserved_bits_fail_the_connection(hub: Hub, rsv: int) -> None:
    for opcode in (TEXT, BINARY, PING, CLOSE)[: 4 if rsv in (1, 2, 4) else 1]:
        async with RawWs.open(hub) as raw:
            raw.send(frame(opcode, code_of(1000), rsv=rsv), say("not heard any more"))
            await raw.fails(1002)


async def test_a_reserved_bit_in_a_continuation_fails_the_connection(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(TEXT, b"{", fin=False), frame(CONT, b"}", rsv=4))
        await raw.fails(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_reserved_opcodes_fail_the_connection(hub: Hub, opcode: int) -> None:
    for payload in (b"", b"payload"):
        async with RawWs.open(hub) as raw:
            raw.send(frame(opcode, payload), frame(PING))
            await raw.fails(1002)


@pytest.mark.parametrize("how", ["at once", "frame by frame", "byte by byte"])
@pytest.mark.parametrize(
    "bad", [frame(TEXT, b"{}", rsv=1), frame(3), frame(11, b"x"), frame(CONT, b"{}", fin=False)],
    ids=["a reserved bit", "opcode 3", "opcode 11", "nothing to continue"],
)  # fmt: skip
async def test_a_message_before_the_breach_is_answered_or_not_and_nothing_behind_it(
    hub: Hub, bad: bytes, how: str
) -> None:
    pieces = [say("before"), bad, frame(PING, b"behind")]
    async with RawWs.open(hub) as raw:
        if how == "at once":
            raw.send(*pieces)
        elif how == "byte by byte":
            await raw.chop(b"".join(pieces))
        else:
            raw.send(pieces[0])
            assert (await raw.message())["ref"] == "before"
            raw.send(*pieces[1:])
        got = await raw.frame()
        if got.opcode == TEXT:
            got = await raw.frame()
        assert (got.opcode, got.payload[:2]) == (CLOSE, code_of(1002))
        assert await raw.ended() == b""


async def test_a_compressed_message_fails_the_connection_though_compression_was_offered(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(request(**auth(), sec_websocket_extensions="permessage-deflate; client_max_window_bits=9"))
        assert "sec-websocket-extensions" not in (await raw.head())[1]
        assert (await raw.message())["type"] == "connected"
        deflate = zlib.compressobj(wbits=-15)
        raw.send(frame(TEXT, (deflate.compress(ask("x")) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4))
        await raw.fails(1002)


@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
async def test_unmasked_frames_fail_the_connection(hub: Hub, opcode: int) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(opcode, code_of(1000), masked=False))
        await raw.fails(1002)


@pytest.mark.parametrize(("form", "length"), [(126, 30), (127, 30), (127, 30_000)])
async def test_a_length_that_is_longer_than_it_need_be_is_taken_or_fails_the_connection(
    hub: Hub, form: int, length: int
) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(TEXT, ask("x", length), form=form))
        got = await raw.frame()
        assert got == (TEXT, b'{"type":"pong","ref":"x"}') or (got.opcode, got.payload[:2]) == (CLOSE, code_of(1002))


@pytest.mark.parametrize("length", [MIB + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_message_that_is_too_big_fails_at_its_first_bytes(hub: Hub, length: int) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(TEXT, length=length))
        await raw.fails(1009, *([1002] if length >= 2**63 else []))  # the topmost bit must be 0


async def test_a_message_that_grows_too_big_by_fragments_fails(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(BINARY, b"x" * MIB, fin=False), frame(CONT, b"x", fin=False))
        await raw.fails(1009)


async def test_fragments_make_one_message_empty_ones_included(hub: Hub) -> None:
    whole = ask("µ-fragments")
    splits = [
        [whole, b""],
        [b"", whole],
        [b"", b"", whole[:5], b"", whole[5:], b""],
        [whole[n : n + 1] for n in range(len(whole))],
    ]
    async with RawWs.open(hub) as raw:
        for opcode in (TEXT, BINARY):
            for split in splits:
                raw.send(*fragments(opcode, split))
                assert (await raw.message())["ref"] == "µ-fragments"
                for piece in fragments(opcode, split):
                    await raw.chop(piece, 3)
                assert (await raw.message())["ref"] == "µ-fragments"


@pytest.mark.parametrize(("size", "piece"), [(65536, 1300), (MIB, 4096), (MIB, 65536)])
async def test_a_large_message_may_come_in_fragments(hub: Hub, size: int, piece: int) -> None:
    whole = ask("large", size)
    async with RawWs.open(hub) as raw:
        for opcode in (TEXT, BINARY):
            raw.send(*fragments(opcode, [whole[start : start + piece] for start in range(0, size, piece)]))
            assert (await raw.message())["ref"] == "large"


async def test_control_frames_may_come_between_fragments(hub: Hub) -> None:
    first, middle, last = fragments(TEXT, [b'{"type":"pi', b'ng",', b'"ref":1}'])
    async with RawWs.open(hub) as raw:
        raw.send(first, frame(PING, b"one"), middle, frame(PONG, b"unasked"), frame(PING, b"two"))
        assert await raw.frame() == (PONG, b"one")
        assert await raw.frame() == (PONG, b"two")
        raw.send(last)
        assert (await raw.message())["ref"] == 1


async def test_a_close_between_fragments_ends_it(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(TEXT, b'{"type":', fin=False), frame(CLOSE, code_of(1000)), frame(CONT, b'"ping"}'))
        await raw.fails(1000, 1002)


@pytest.mark.parametrize("fin", [True, False])
async def test_a_continuation_of_nothing_fails_the_connection(hub: Hub, fin: bool) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(CONT, ask("x"), fin=fin), say("not heard any more"))
        await raw.fails(1002)
    async with RawWs.open(hub) as raw:
        raw.send(*fragments(TEXT, [ask("x")[:5], ask("x")[5:]]))
        assert (await raw.message())["ref"] == "x"
        raw.send(frame(CONT, b"more", fin=fin))
        await raw.fails(1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_new_message_within_a_fragmented_one_fails_the_connection(hub: Hub, opcode: int) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(TEXT, b"{", fin=False), frame(opcode, ask("x")))
        await raw.fails(1002)


VALID_TEXT = [
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\u0080\u07ff\u0800\ud7ff\ue000\uffff",
    "\ufffe\ufdd0",
    "\U00010000\U0010ffff",
    "🙂",
]


async def test_text_may_be_split_within_its_characters(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        for text in VALID_TEXT:
            whole = ask(text)
            raw.send(frame(TEXT, whole))
            assert (await raw.message())["ref"] == text
            raw.send(*fragments(TEXT, [whole[n : n + 1] for n in range(len(whole))]))
            assert (await raw.message())["ref"] == text
            await raw.chop(frame(TEXT, whole))
            assert (await raw.message())["ref"] == text


INVALID_TEXT = [
    b"\x80", b"\xbf", b"\xc2", b"\xe1\xbd", b"\xf0\x90\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xe0\x9f\xbf",
    b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"\xc2a", b"\xe1\xbda",
]  # fmt: skip


@pytest.mark.parametrize("wrong", INVALID_TEXT, ids=bytes.hex)
async def test_text_that_is_not_utf8_fails_with_1007(hub: Hub, wrong: bytes) -> None:
    text = b'"\xce\xba\xe1\xbd\xb9' + wrong
    async with RawWs.open(hub) as raw:
        raw.send(frame(TEXT, text), say("not heard any more"))
        await raw.fails(1007)
    async with RawWs.open(hub) as raw:
        raw.send(*fragments(TEXT, [text[n : n + 1] for n in range(len(text))]))
        await raw.fails(1007)


async def test_text_fails_at_the_fragment_in_which_it_is_not_utf8(hub: Hub) -> None:
    for wrong in (b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"\xff"):
        async with RawWs.open(hub) as raw:
            raw.send(frame(TEXT, "κόσμε".encode(), fin=False), frame(CONT, wrong, fin=False))
            await raw.fails(1007)  # the message never ends


async def test_binary_that_is_not_utf8_is_an_error_and_closes_nothing(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(BINARY, b'"\xff"'))
        assert (await raw.message())["type"] == "error"
        await raw.lives()


VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


async def test_a_close_is_answered_with_its_code_then_the_server_ends_the_connection(hub: Hub) -> None:
    for code in VALID_CODES:
        async with RawWs.open(hub) as raw:
            raw.send(frame(CLOSE, code_of(code, "µ bye".encode())))
            await raw.fails(code)


@pytest.mark.parametrize("code", INVALID_CODES)
async def test_a_close_code_that_nobody_may_send_fails_the_connection(hub: Hub, code: int) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(CLOSE, code_of(code, b"reason")))
        await raw.fails(1002)


async def test_a_close_may_be_empty_or_have_a_reason_of_123_bytes(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(CLOSE))
        await raw.fails(1000, 1005)
    async with RawWs.open(hub) as raw:
        raw.send(frame(CLOSE, code_of(1000, b"x" * 123)))
        await raw.fails(1000)


async def test_a_close_of_one_byte_or_with_a_reason_that_is_not_utf8_fails_the_connection(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(frame(CLOSE, b"\x03"))
        await raw.fails(1002)
    for wrong in INVALID_TEXT[:4]:
        async with RawWs.open(hub) as raw:
            raw.send(frame(CLOSE, code_of(1000, b"bye " + wrong)))
            await raw.fails(1002, 1007)


async def test_a_close_right_behind_a_large_message_is_answered_and_nothing_behind_it(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.send(say("large", 256 * 1024), frame(CLOSE, code_of(1000)), frame(PING))
        got = await raw.frame()
        if got.opcode == TEXT:
            got = await raw.frame()
        assert got == (CLOSE, code_of(1000))
        assert await raw.ended() == b""


async def test_what_comes_behind_a_close_is_not_heard(hub: Hub, topic: str) -> None:
    join = frame(TEXT, json.dumps({"type": "join_room", "room": topic}).encode())
    async with RawWs.open(hub) as raw:
        raw.send(frame(CLOSE, code_of(1000)), join, frame(PING, b"late"), say("late"), frame(CLOSE, code_of(1001)))
        await raw.fails(1000)


@pytest.mark.parametrize("how", ["refused", "token expired"])
async def test_the_servers_close_waits_for_the_clients_and_hears_nothing_else(hub: Hub, topic: str, how: str) -> None:
    query = "token=nonsense" if how == "refused" else f"token={token('ann', ttl=1, subscribe=[topic])}"
    async with RawWs.open(hub, f"/v1/ws?{query}", authorized=False) as raw:
        while (got := await raw.frame()).opcode != CLOSE:
            assert how != "refused"
        code = int.from_bytes(got.payload[:2], "big")
        assert code == (4001 if how == "refused" else 4009)
        raw.send(frame(TEXT, b'{"type":"ping"'), say("too late"), frame(CLOSE, got.payload))
        assert await raw.ended(3) == b""


async def test_a_client_that_ends_its_stream_without_a_close_is_let_go(hub: Hub) -> None:
    async with RawWs.open(hub) as raw:
        raw.writer.write_eof()
        came = await raw.ended()
        assert came == b"" or came[0] == 0x80 | CLOSE
