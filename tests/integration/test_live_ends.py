"""Connections that the hub ends: by the pulse, for their credential or their slowness, and by a drain."""

import asyncio
import time

import pytest

from hub.core.claims import Principal
from hub.live import gateway as gateways
from hub.live import pulse
from hub.live.connection import SLOW_SECONDS
from hub.store.connect import Link
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
