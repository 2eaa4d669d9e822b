"""The WebSocket handshake by the letter of RFC 6455, section 4.2."""

import asyncio
import json
import time

import pytest

from tests.support.hub import Hub, auth
from tests.support.raw_ws import ACCEPT, PING, PONG, RawWs, frame, request, say


async def test_the_handshake_agrees_on_nothing_that_was_not_offered_and_on_no_extension(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        raw.send(
            request(
                sec_websocket_protocol="chat, hub.v1.json, superchat",
                sec_websocket_extensions="permessage-deflate; client_max_window_bits, x-webkit-deflate-frame",
                connection="keep-alive, UpGrade",
                upgrade="WebSocket",
                origin="https://elsewhere.example",
            )
        )
        status, headers = await raw.head()
        assert status == 101
        assert headers["sec-websocket-accept"] == ACCEPT
        assert headers["sec-websocket-protocol"] == "hub.v1.json"
        assert headers["upgrade"].lower() == "websocket"
        assert headers["connection"].lower() == "upgrade"
        assert "sec-websocket-extensions" not in headers
    async with RawWs.connect(hub) as raw:
        raw.send(request(sec_websocket_protocol="chat"))
        status, headers = await raw.head()
        assert status == 101
        assert "sec-websocket-protocol" not in headers


async def test_the_handshake_may_come_byte_by_byte(hub: Hub) -> None:
    async with RawWs.connect(hub) as raw:
        await raw.chop(request())
        assert (await raw.head())[0] == 101


@pytest.mark.parametrize("cut", ["behind the frame", "amid the frame", "before the frame"])
async def test_what_a_client_sends_before_it_has_its_answer_is_heard(hub: Hub, cut: str) -> None:
    """It should not (section 4.1), but what is lost of it would break the frames that follow."""
    handshake, first, rest = request(**auth()), say("early"), frame(PING, b"then") + say("last")
    at = len(handshake) + {"behind the frame": len(first), "amid the frame": 9, "before the frame": 0}[cut]
    async with RawWs.connect(hub) as raw:
        raw.send((handshake + first + rest)[:at])
        await asyncio.sleep(0)
        raw.send((handshake + first + rest)[at:])
        assert (await raw.head())[0] == 101
        assert (await raw.message())["type"] == "connected"
        got = [await raw.frame() for _ in range(3)]
    assert (PONG, b"then") in got
    assert [json.loads(each.payload)["ref"] for each in got if each.opcode != PONG] == ["early", "last"]


async def test_who_sends_a_flood_before_it_has_its_answer_is_cut_off() -> None:
    with Hub() as hub:
        async with hub.client() as client, RawWs.connect(hub) as raw:
            key = (await client.post("/v1/keys", json={"scopes": ["events:subscribe"]})).json()["data"]["key"]
            hub.store.hang()  # so that the key can't be looked up
            raw.send(request(**auth(key)), b"x" * (1024 * 1024 + 1))
            began = time.monotonic()
            assert await raw.ended() == b""
            assert time.monotonic() - began < 1
            hub.store.wake()


FAULTS: dict[str, tuple[bytes, set[int]]] = {
    "no key": (request(sec_websocket_key=None), {400}),
    "an empty key": (request(sec_websocket_key=""), {400}),
    "a key that is not base64": (request(sec_websocket_key="not base64 at all!"), {400}),
    "a key of 15 bytes": (request(sec_websocket_key="AAAAAAAAAAAAAAAAAAAA"), {400}),
    "two keys": (
        request(sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="),
        {400},
    ),
    "no version": (request(sec_websocket_version=None), {426}),
    "version 8": (request(sec_websocket_version="8"), {426}),
    "version 14": (request(sec_websocket_version="14"), {426}),
    "no host": (request(host=None), {400}),
    "POST": (request(first="POST /v1/ws HTTP/1.1", content_length="0"), {400, 404, 405}),
    "HTTP/1.0": (request(first="GET /v1/ws HTTP/1.0"), {400, 401, 404, 426, 505}),
    "another upgrade": (request(upgrade="h2c"), {400, 401, 404, 426}),
    "no upgrade": (request(upgrade=None, connection=None), {400, 401, 404, 426}),
    "no connection: upgrade": (request(connection="close"), {400, 401, 404, 426}),
    "another path": (request("/v1/nothing"), {404}),
    "a path of plain HTTP": (request("/v1/events"), {404}),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "a header line of 70,000 bytes": (request(x_long="x" * 70_000), {400, 431}),
    "1,000 headers": (request(**{f"x-{n}": "1" for n in range(1000)}), {400, 431}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_handshake_is_answered_and_ended(hub: Hub, fault: str) -> None:
    sent, allowed = FAULTS[fault]
    async with RawWs.connect(hub) as raw:
        raw.send(sent)
        raw.writer.write_eof()
        status, headers, _ = await raw.refused()
        assert status in allowed
        assert headers.get("sec-websocket-version") == ("13" if "version" in fault else None)
