"""The watch that holds closed apps against a process's connections."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from hub.core.claims import Principal
from hub.core.tenant import AppInput, AppPatch
from hub.live.gateway import Gateway
from hub.live.polling import Polling
from hub.live.tenancy import Tenancy
from hub.settings import load
from hub.store import control
from hub.store.apps import Apps
from hub.store.connect import Link
from hub.store.revocations import Revocations
from hub.store.versioned import Version
from tests.support.gateways import process
from tests.support.store import StoreProcess
from tests.support.waiting import eventually

APP = "acme"


@contextlib.asynccontextmanager
async def watched(store: StoreProcess, link: Link) -> AsyncGenerator[tuple[Gateway, Apps]]:
    """A web process's gateway with its watch, and an app."""
    version = Version(link)
    apps = Apps(link, load({}), version, Revocations(link))
    await apps.create(AppInput(APP))
    async with process(store) as one:
        task = asyncio.create_task(Tenancy(one.gateway, apps, version).run())
        try:
            yield one.gateway, apps
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def opened(gateway: Gateway, app: str = APP) -> Polling:
    """A connection whose credential was found good before."""
    connection = Polling(10)
    gateway.admit(connection, Principal(app, user="ann"))
    gateway.add(connection)
    return connection


async def test_a_connection_whose_credential_was_looked_up_before_its_app_was_closed_does_not_survive(
    store: StoreProcess, link: Link
) -> None:
    async with watched(store, link) as (gateway, apps):
        witness, other = opened(gateway), opened(gateway, "default")
        await apps.update(APP, AppPatch(enabled=False))
        await eventually(lambda: witness.closed, "the notice has come")
        late = opened(gateway)
        assert late.ended == (4003, "the app is disabled or deleted")
        assert not other.closed
        await apps.update(APP, AppPatch(enabled=True))
        await eventually(lambda: not opened(gateway).closed, "that it is enabled again is known")


async def test_an_app_that_was_enabled_again_while_nobody_listened_is_not_held_to_be_closed(
    store: StoreProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(*_: object) -> None:
        """As if it had been trimmed away before it was read."""

    async with watched(store, link) as (gateway, apps):
        witness = opened(gateway)
        await apps.update(APP, AppPatch(enabled=False))
        await eventually(lambda: witness.closed, "the notice has come")
        monkeypatch.setattr(control, "send_notice", unheard)
        await apps.update(APP, AppPatch(enabled=True))
        with store.client() as outside:
            outside.client_kill_filter(_type="normal", skipme=True)
        await eventually(lambda: not opened(gateway).closed, "the store was asked")
