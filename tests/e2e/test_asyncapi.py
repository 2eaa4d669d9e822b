"""The AsyncAPI document against live connections: what is said and heard there is what it describes."""

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest

from hub.web.asyncapi import SAID, STREAMED, document
from tests.support.hub import Hub, publish, token
from tests.support.live import SseClient, WsClient

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document()))


def check(value: Any, message: str) -> None:
    """Raise unless the value fits the payload of a message."""
    payload = DOCUMENT["components"]["messages"][message]["payload"]
    jsonschema.Draft202012Validator({**payload, "components": DOCUMENT["components"]}).validate(value)


def test_every_reference_leads_somewhere() -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))
    assert references
    for reference in references:
        found: Any = DOCUMENT
        for step in reference.split("/"):
            found = found[step]


async def test_the_document_is_served_as_it_is_made(hub: Hub) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(hub.url("/asyncapi.json"))).json() == DOCUMENT


async def test_what_is_said_on_a_websocket_is_what_the_document_describes(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    grants: dict[str, Any] = {"subscribe": ["**"], "publish": ["**"], "presence": ["**"]}
    own = token("asyncapi", ttl=600, **grants)
    heard: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    async with WsClient.open(hub, key=None, query=f"?token={own}") as ws:
        told.append(ws.connected)

        async def ask(kind: str, **fields: Any) -> dict[str, Any]:
            heard.append({"type": kind, **fields, "ref": "x"})
            told.append(await ws.ask(kind, **fields))
            return told[-1]

        cursor = (await ask("join_room", room=topic, presence=True))["cursor"]
        await ask("broadcast", room=topic, data={"n": 1}, event_type="a.b", id="twice")
        await ask("broadcast", room=topic, data={"n": 1}, event_type="a.b", id="twice")
        await ask("broadcast", room=topic, data={"n": 2}, ephemeral=True)
        await ask("direct_message", user="asyncapi", data="hello")
        await ask("presence", room=topic)
        await ask("authenticate", token=own)
        await ask("ping")
        await ask("join_room", rooms=[f"{topic}.*"], after=cursor, types=["a.*"], history=0)
        assert (await ask("leave_room", room="never.joined"))["type"] == "error"
        await ask("leave_room", room=f"{topic}.*")
        async with WsClient.open(hub, key=None, query=f"?token={token('other', **grants)}", index=1) as other:
            await other.join(topic)
            told.append(await ws.next("user_joined"))
        told.append(await ws.next("user_left"))
        told += await ws.quiet()
    for message in told:
        check(message, f"hub.{message['type']}")
    for message in heard:
        check(message, f"client.{message['type']}")
    assert {message["type"] for message in told} == SAID.keys() - {"gap", "heartbeat", "token_expiring"}


@pytest.mark.parametrize(
    "bad", [{"type": "event"}, {"type": "event", "room": "a", "event": {}}, {"type": "ack", "x": 1}]
)
def test_what_the_hub_never_says_does_not_fit(bad: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(bad, f"hub.{bad['type']}")


async def test_the_blocks_of_a_stream_are_what_the_document_describes(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    made = await publish(client, topic, {"n": 1}, source="/shop", extensions={"tenant": "t"})
    blocks: list[dict[str, str]] = []
    async with SseClient.open(hub, f"topic={topic}&history=5") as sse:
        blocks += [await sse.event() for _ in range(2)]
    async with SseClient.open(hub, f"topic={topic}&after={made['cursor'][:-1]}f", index=0) as sse:
        blocks.append(await sse.event())
    for block in blocks:
        name = block.get("event", "message")
        assert name in STREAMED
        check(json.loads(block["data"]), f"stream.{name.removeprefix('hub.')}")
    assert [block.get("event") for block in blocks] == ["hub.connected", None, "hub.connected"]
