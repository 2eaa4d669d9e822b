"""Deletions of apps that broke off: another process completes them, and nothing of the app is left."""

import base64

import pytest

from hub.core.endpoint import EndpointInput
from hub.core.errors import Conflict, NotFound, Unauthenticated
from hub.core.event_type import EventTypeInput
from hub.core.tenant import AppInput, SigningKeyInput
from hub.settings import load
from hub.store import keys
from hub.store.catalogue import Catalogue
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.reaper import LAST_REQUEST_MS, Reaper
from tests.integration.test_versioned import SPEC, Process
from tests.support.logs import log_on
from tests.unit.test_jose import pem

ALLOWED = {"HUB_WEBHOOK_ALLOW_HTTP": "1", "HUB_SECRET_KEY": base64.b64encode(b"k" * 32).decode()}


async def test_a_deletion_that_broke_off_is_completed_by_another_process(link: Link) -> None:
    one = Process(link)
    endpoints = Endpoints(link, load(ALLOWED), log_on(link))
    catalogue = Catalogue(link)
    reaper = Reaper(one.apps, one.keys, endpoints, catalogue)
    for app in ("acme", "other"):
        await one.apps.create(AppInput(app))
    made = [(await one.keys.create("acme", SPEC))[1] for _ in range(3)]
    _, kept = await one.keys.create("other", SPEC)
    given = EndpointInput(url="http://hooks.example/")
    for app in ("acme", "acme", "other"):
        await endpoints.create(app, given)
    await catalogue.put("acme", "order.created", EventTypeInput(description="theirs"))
    await one.apps.delete("acme")  # and the process died
    for key in made:
        with pytest.raises(Unauthenticated):
            await one.access.principal(key)
    assert await one.apps.ending() == ["acme"]
    ended = (await one.apps.read("acme"))[0]
    assert ended is not None
    assert ended.ended_at is not None
    await reaper.sweep(ended.ended_at)
    assert await endpoints.ids("acme") == []
    assert await link.call("ZCARD", keys.app_keys("acme")) == 0
    assert await link.call("EXISTS", keys.event_types("acme")) == 0
    assert await one.apps.ending() == ["acme"], "a request that was under way may still have made something"
    late, _ = await endpoints.create("acme", given)
    await reaper.sweep(ended.ended_at + LAST_REQUEST_MS + 1)
    assert await endpoints.ids("acme") == []
    with pytest.raises(NotFound):
        await endpoints.get("acme", late.id)
    assert await one.apps.ending() == []
    gone = (await one.apps.read("acme"))[0]
    assert gone is not None
    assert gone.state == "deleted"
    with pytest.raises(Conflict, match="given once"):
        await one.apps.create(AppInput("acme"))
    assert len(await endpoints.ids("other")) == 1
    assert (await one.access.principal(kept)).app == "other"


async def test_an_apps_signing_keys_are_gone_with_the_write_that_deletes_it(link: Link) -> None:
    one = Process(link)
    await one.apps.create(AppInput("acme"))
    key, _ = await one.apps.add_key("acme", SigningKeyInput(public_key=pem("ES256")))
    await one.apps.delete("acme")
    record = await link.call("HGET", keys.APPS, "acme")
    assert key.id.encode() not in record
    with pytest.raises(NotFound):
        await one.apps.verifying("acme")
    await one.apps.finish("acme")
    await one.apps.finish("other")
    assert await one.apps.ending() == []
