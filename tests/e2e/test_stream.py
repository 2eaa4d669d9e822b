"""GET /v1/stream: server-sent events, resumed by Last-Event-ID."""

import asyncio
import json
import socket

import httpx
import pytest

from tests.support.hub import KEY, Hub, publish, token
from tests.support.live import SseClient


async def test_a_stream_begins_with_connected_and_carries_events_with_their_cursor(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with SseClient.open(hub, f"topic={topic}") as sse:
        assert 1000 <= int((await sse.block())["retry"]) <= 4000
        connected = await sse.block()
        assert connected["event"] == "hub.connected"
        assert json.loads(connected["data"]) == {"cursor": connected["id"]}
        sent = await publish(client, topic, {"a": [1, 2]})
        block = await sse.event()
        assert "event" not in block
        assert block["id"] == sent["cursor"]
        assert json.loads(block["data"])["id"] == sent["id"]
        headers = sse.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"


async def test_several_topics_and_patterns_give_each_event_once(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    async with SseClient.open(hub, f"topic={topic}.a&topic={topic}.*&topic={topic}.**&type=wanted.*&named=1") as sse:
        await sse.event()
        for n in range(6):
            await publish(client, f"{topic}.{'ab'[n % 2]}", n, type="wanted.kind" if n < 4 else "other.kind")
        await publish(client, f"{topic}.a.deep", "last", type="wanted.kind")
        blocks = [await sse.event() for _ in range(5)]
        assert [json.loads(block["data"])["data"] for block in blocks] == [0, 1, 2, 3, "last"]
        assert {block["event"] for block in blocks} == {"wanted.kind"}


@pytest.mark.parametrize("how", ["header", "last_event_id", "after"])
async def test_a_reconnect_replays_what_was_missed(hub: Hub, client: httpx.AsyncClient, topic: str, how: str) -> None:
    async with SseClient.open(hub, f"topic={topic}") as sse:
        await sse.event()
        await publish(client, topic, 0)
        assert await sse.data(1) != []
        cursor = sse.id
    assert cursor is not None
    for n in range(1, 30):
        await publish(client, topic, n)
    query = f"topic={topic}" if how == "header" else f"topic={topic}&{how}={cursor}"
    header = cursor if how == "header" else None
    async with SseClient.open(hub, query, index=1, last_event_id=header) as sse:
        assert json.loads((await sse.event())["data"]) == {"cursor": cursor, "recovered": True}
        assert [event["data"] for event in await sse.data(29)] == list(range(1, 30))


async def test_the_header_goes_before_the_query_and_after_before_history(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    cursors = [(await publish(client, topic, n))["cursor"] for n in range(6)]
    query = f"topic={topic}&after={cursors[1]}&history=6"
    async with SseClient.open(hub, f"{query}&last_event_id={cursors[2]}", last_event_id=cursors[3]) as sse:
        await sse.event()
        assert [event["data"] for event in await sse.data(2)] == [4, 5]
    async with SseClient.open(hub, f"{query}&last_event_id={cursors[2]}") as sse:
        await sse.event()
        assert [event["data"] for event in await sse.data(3)] == [3, 4, 5]
    async with SseClient.open(hub, query) as sse:
        await sse.event()
        assert [event["data"] for event in await sse.data(4)] == [2, 3, 4, 5]
    async with SseClient.open(hub, f"topic={topic}&history=2") as sse:
        await sse.event()
        assert [event["data"] for event in await sse.data(2)] == [4, 5]


@pytest.mark.parametrize("text", ["12345", "0-1-2-x", "a, b", "\u00e4", "0" * 5000])
async def test_a_last_event_id_of_another_kind_is_answered_not_recovered(hub: Hub, topic: str, text: str) -> None:
    async with SseClient.open(hub, f"topic={topic}", last_event_id=text) as sse:
        assert json.loads((await sse.event())["data"])["recovered"] is False


@pytest.mark.parametrize(("before", "behind"), [("", ""), (" ", " "), ("\t ", "\t")])
async def test_a_last_event_id_is_taken_without_the_space_around_it_and_an_empty_one_is_none(
    hub: Hub, client: httpx.AsyncClient, topic: str, before: str, behind: str
) -> None:
    """What an EventSource sends that was given an empty `id:`, and what is left of a template's parameter."""
    first, second = [(await publish(client, topic, n))["cursor"] for n in range(2)]
    for header, query, starts_from in (
        (second, f"after={first}", second),
        ("", f"last_event_id=&after={first}", first),
        ("", "last_event_id=&after=&history=1", None),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.ports[0])
        head = f"GET /v1/stream?topic={topic}&{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}"
        writer.write(f"{head}\r\nlast-event-id:{before}{header}{behind}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            connected = await reader.readuntil(b"data: {")
            connected += await reader.readuntil(b"\n\n")
            assert (b'"recovered":true' in connected) is (starts_from is not None)
            assert (b"id: %b\n" % (starts_from or "").encode() in connected) is (starts_from is not None)
            if starts_from != second:
                await reader.readuntil(b"id: %b\n" % second.encode())
        writer.close()


async def test_a_token_in_the_query_is_enough_and_limits_the_topics(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    granted = token("ann", subscribe=[f"{topic}.*"])
    async with httpx.AsyncClient() as browser:
        url = hub.url(f"/v1/stream?topic={topic}.1&token={granted}")
        async with browser.stream("GET", url) as response:
            assert response.status_code == 200
            assert await anext(response.aiter_lines())
        refused = await browser.get(hub.url(f"/v1/stream?topic={topic}.**&token={granted}"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
        nobody = await browser.get(hub.url(f"/v1/stream?topic={topic}"))
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("", 400, "topic"),
        ("topic=a..b", 400, "topic"),
        ("topic=a&topik=b", 400, "topik"),
        ("topic=a&after=zzz", 400, "after"),
        ("topic=a&named=maybe", 400, "named"),
        ("topic=a&history=0", 400, "history"),
        ("topic=a&type=b%20c", 400, "type"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(
    client: httpx.AsyncClient, query: str, status: int, field: str
) -> None:
    response = await client.get(f"/v1/stream?{query}")
    assert response.status_code == status
    assert response.json()["error"]["details"][0]["field"] == field


async def test_head_and_a_wrong_accept_are_answered(client: httpx.AsyncClient) -> None:
    head = await client.head("/v1/stream?topic=a")
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")
    assert head.headers["x-accel-buffering"] == "no"  # for proxies that are not told so by their own configuration
    for query in ("", "topic=a..b", "topic=a&after=zzz", "topic=a&history=0"):
        assert (await client.head(f"/v1/stream?{query}")).status_code == 400, "as GET is answered"
    wrong = await client.get("/v1/stream?topic=a", headers={"accept": "application/json"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (406, "NOT_ACCEPTABLE")


async def test_a_client_that_speaks_http_1_0_gets_a_plain_body_that_ends_with_the_connection(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    """It knows no chunks (RFC 9112, section 6.1); it is what nginx speaks unless it is told otherwise."""
    granted = token("ann", ttl=3, subscribe=[topic])
    missed = await publish(client, topic, "missed")
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.ports[0])
    query = f"topic={topic}&named=1&history=1&token={granted}"
    writer.write(f"GET /v1/stream?{query} HTTP/1.0\r\n\r\n".encode())
    try:
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readuntil(b"hub.connected")
            sent = await publish(client, topic, "live")
            body = await reader.read()
    finally:
        writer.close()
    assert head.startswith(b"http/1.1 200")
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close\r\n" in head
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in body.decode().split("\n\n")[1:-1]]
    assert [block.get("id") for block in blocks] == [missed["cursor"], sent["cursor"], None, None]
    assert [block.get("event") for block in blocks] == ["test.event", "test.event", "hub.token_expiring", None]
    assert blocks[-1].keys() == {"retry"}


async def test_a_second_request_behind_a_stream_ends_the_connection(hub: Hub, topic: str) -> None:
    request = f"GET /v1/stream?topic={topic} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", hub.ports[0]), timeout=10) as sock:
        sock.sendall(request)
        received = b""
        while b"hub.connected" not in received:
            received += sock.recv(65536)
        sock.sendall(request)
        while sock.recv(65536):
            pass
