"""The whole deployment under load, while its store, workers and web processes are killed: what was accepted arrives."""

import asyncio
import random
from collections import Counter
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests.support.hub import Hub, auth, whole_log
from tests.support.live import SseClient, WsClient
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually


class Publisher:
    """Publishes with ids of its own, to whichever process answers, until each event was accepted."""

    def __init__(self, hub: Hub, name: int) -> None:
        self.accepted: list[str] = []
        self._hub = hub
        self._name = name
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        async with httpx.AsyncClient(headers=auth(), timeout=5) as client:
            n = 0
            while not self._stop.is_set():
                event = {"topic": f"orders.{n % 3}", "type": "order.created", "data": n, "id": f"{self._name}-{n}"}
                await eventually(lambda e=event: self._try(client, e), "the event was accepted", 30)
                self.accepted.append(str(event["id"]))
                n += 1
                await asyncio.sleep(0.005)

    async def _try(self, client: httpx.AsyncClient, event: dict[str, Any]) -> bool:
        try:
            url = self._hub.url("/v1/events", random.randrange(len(self._hub.ports)))
            return (await client.post(url, json=event)).status_code == 202
        except httpx.HTTPError:
            return False


class Follower:
    """A live client that comes back with its cursor, to any process, for as long as it takes."""

    def __init__(self, hub: Hub) -> None:
        self.got: list[str] = []
        self._hub = hub
        self.cursor: str | None = None

    async def run(self) -> None:
        while True:
            try:
                await self.follow(random.randrange(len(self._hub.ports)))
            except (OSError, EOFError, AssertionError, TimeoutError, WebSocketException, httpx.HTTPError):
                await asyncio.sleep(0.05)

    async def follow(self, index: int) -> None:
        raise NotImplementedError

    def take(self, event: dict[str, Any], cursor: str) -> None:
        self.got.append(event["id"])
        self.cursor = cursor


class WsFollower(Follower):
    async def follow(self, index: int) -> None:
        async with WsClient.open(self._hub, index=index) as ws:
            joined = await ws.join("orders.*", **({} if self.cursor is None else {"after": self.cursor}))
            if joined.get("recovered") is False:
                self.got.append("NOT RECOVERED")
            self.cursor = self.cursor or joined["cursor"]
            while True:
                message = await ws.next("event")
                self.take(message["event"], message["cursor"])


class SseFollower(Follower):
    async def follow(self, index: int) -> None:
        async with SseClient.open(self._hub, "topic=orders.*", index=index, last_event_id=self.cursor) as sse:
            while True:
                block = await sse.event()
                if block.get("event") == "hub.connected":
                    self.cursor = self.cursor or block["id"]
                    if '"recovered":false' in block["data"]:
                        self.got.append("NOT RECOVERED")
                elif "event" not in block:
                    self.take(httpx.Response(200, text=block["data"]).json(), block["id"])
                else:
                    self.got.append(block["event"])


async def kill_things(hub: Hub, rounds: int, publishers: list[Publisher]) -> None:
    """Each round kills one thing while events flow, and starts it again."""
    for n in range(rounds):
        before = sum(len(publisher.accepted) for publisher in publishers)
        match n % 3:
            case 0:
                hub.store.kill()
                await asyncio.to_thread(hub.store.start)
            case 1:
                hub.workers.pop(0).close()
                hub.start_worker()
            case _:
                await asyncio.to_thread(hub.restart_web, n // 3 % len(hub.ports))
        await eventually(lambda before=before: sum(len(p.accepted) for p in publishers) > before + 60, "events flow")


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
async def test_what_was_accepted_reaches_everyone(rounds: int) -> None:
    """Live: exactly once and in log order on each client. Webhooks: at least once, with few repeats."""
    with Hub(web=2, workers=2) as hub:
        async with Receiver() as receiver, hub.client() as client:
            receiver.answers["/flaky"] = [answer(500)] * 200
            for path in ("/steady", "/flaky"):
                endpoint = {"url": receiver.url(path), "topics": ["orders.**"], "retry": {"schedule": [0.2] * 40}}
                response = await client.post("/v1/endpoints", json=endpoint)
                assert response.status_code == 201, response.text
            followers: list[Follower] = [WsFollower(hub), WsFollower(hub), SseFollower(hub)]
            following = [asyncio.create_task(follower.run()) for follower in followers]
            await eventually(lambda: all(follower.cursor for follower in followers), "all follow")
            publishers = [Publisher(hub, name) for name in range(3)]
            publishing = [asyncio.create_task(publisher.run()) for publisher in publishers]
            await kill_things(hub, rounds, publishers)
            for publisher in publishers:
                publisher.stop()
            await asyncio.gather(*publishing)
            accepted = {event for publisher in publishers for event in publisher.accepted}
            for follower in followers:
                await eventually(lambda f=follower: len(f.got) >= len(accepted), f"{follower} has caught up", 30)
            for task in following:
                task.cancel()
            log = await whole_log(client, "orders.**")
            assert sorted(log) == sorted(accepted)
            assert all(follower.got == log for follower in followers)
            for path in ("/steady", "/flaky"):
                await eventually(lambda p=path: accepted <= delivered(receiver, p), f"all have come to {path}", 60)
            repeats = sum(
                count - 1 for count in Counter(got.headers["webhook-id"] for got in receiver.at("/steady")).values()
            )
            assert repeats <= 25 * rounds, "repeats come only from what was in flight at a kill"


def delivered(receiver: Receiver, path: str) -> set[str]:
    return {got.headers["webhook-id"] for got in receiver.at(path)}
