"""Connections that end: by the pulse, for their credential or slowness; by a drain; streams and polls by an answer."""

import asyncio
import time

import pytest

from hub.core import cursor as cursors
from hub.core.claims import Principal
from hub.live import gateway as gateways
from hub.live import pulse
from hub.live import slice as slices
from hub.live.connection import SLOW_SECONDS, PlainConnection
from hub.live.polling import Polling
from hub.live.replay import Start
from hub.live.rooms import RoomKey
from hub.store.connect import Link
from hub.web.listening import Listening
from hub.web.poll import collect
from tests.support.gateways import APP, Client, process
from tests.support.store import StoreProcess
from tests.support.waiting import eventually


class Slow(Client):
    """Behind for as long as the test says."""

    behind = 0.0

    def slow_for(self, now: float) -> float:
        return self.behind


async def test_who_stays_behind_for_too_long_is_closed(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    async with process(store) as one:
        slow, quick = Slow(interval=0.0).open(one), Slow(interval=0.0).open(one)
        slow.behind = quick.behind = SLOW_SECONDS
        await eventually(lambda: len(quick.of("heartbeat")) > 2, "the pulse goes on")
        assert not slow.closed
        slow.behind += 0.1
        await eventually(lambda: slow.closed, "it is closed")
        assert slow.ended == (4008, "slow consumer")
        assert not quick.closed


async def test_nobody_is_closed_unwarned_however_busy_the_hub_was(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    async with process(store) as one:
        client = Client()
        # As if no look at it had fallen between its warning's time and its end.
        one.gateway.admit(client, Principal(APP, user="ann", expires_at=time.time()))
        client.open(one)
        await eventually(lambda: client.closed, "it is closed")
        assert [message["type"] for message in client.told] == ["token_expiring"]
        assert client.ended == (4009, "token expired")


async def test_one_warning_is_enough(store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    async with process(store) as one:
        client = Client(interval=0.0)
        one.gateway.admit(client, Principal(APP, user="ann", expires_at=time.time() + 600))
        assert client.warn_at is not None
        assert 29 < time.time() + 600 - client.warn_at <= 30.5  # half a minute before
        client.warn_at = 0.0
        client.open(one)
        await eventually(lambda: len(client.of("heartbeat")) > 5, "the pulse goes on")
        (warning,) = client.of("token_expiring")
        assert 598 <= warning["expires_in"] <= 600


async def test_who_comes_while_all_are_sent_away_is_sent_away_at_once(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "FAREWELL_SECONDS", 30.0)
    async with process(store) as one:
        first = [Client().open(one) for _ in range(3)]
        draining = asyncio.create_task(one.gateway.drain(0.0))
        await eventually(lambda: all(client.closed for client in first), "all were sent away")
        late = Client().open(one)
        for client in (*first, late):
            assert client.ended is not None
            code, reason = client.ended
            assert code == 1012
            assert 100 <= int(reason.removeprefix("retry=")) <= 3000
        assert not draining.done()  # until they have gone
        for client in (*first, late):
            one.gateway.drop(client)
        await asyncio.wait_for(draining, 5)
        assert one.gateway.fault == "this process is shutting down"


async def test_a_stream_whose_replay_cant_be_read_is_ended_so_that_its_client_comes_back(
    store: StoreProcess, link: Link
) -> None:
    async with process(store) as one:
        stream = PlainConnection("sse", 15)
        key = RoomKey(APP, ("a.x",), (), "sse", framed=False)
        store.kill()
        try:
            Listening(one.gateway, stream, "req_1").begin(Principal(APP), key, Start(history=5))
            await eventually(lambda: stream.closed, "it is ended")
        finally:
            store.start()
        assert stream.ended is not None
        assert stream.ended[0] == 1013


async def test_a_poll_whose_time_is_up_amid_a_fan_out_loses_nothing_of_it(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's cursor is ahead then of what the poll was given."""
    monkeypatch.setattr(slices, "SLICE", 1)
    up = asyncio.Event()

    async def arrived(_: Polling) -> None:
        await up.wait()

    monkeypatch.setattr(Polling, "arrived", arrived)
    async with process(store) as one:
        first, poll = Client().open(one), Polling(10)
        await first.join(one, "a.x")
        first.on_write = lambda _: up.set()
        one.gateway.add(poll)
        key = RoomKey(APP, ("a.x",), (), "poll", framed=False)
        collecting = asyncio.create_task(collect(one.gateway, poll, key, Start(), 60))
        await eventually(lambda: poll.rooms, "the poll waits")
        sent = await one.publish("a.x", 1)
        await asyncio.wait_for(collecting, 5)
        assert len(poll.events) == 1
        assert cursors.decode(poll.cursor) == cursors.decode(sent.cursor)
