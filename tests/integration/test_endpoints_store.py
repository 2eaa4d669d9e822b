"""Endpoints in the store: their life, their secrets at rest, and what dispatch learns of them."""

import asyncio
from typing import cast

import pytest
from msgspec import structs

from hub.core.endpoint import EndpointInput, EndpointPatch
from hub.core.errors import EndpointUrlForbidden, NotConfigured, NotFound
from hub.core.signing import PREFIX
from hub.store import keys
from hub.store.audience import Audience
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.paging import Window
from hub.store.secrets import Secrets
from tests.support.store import StoreProcess
from tests.support.webhooks import APP, Ground


async def test_an_endpoint_is_made_read_changed_listed_and_deleted(ground: Ground) -> None:
    given = EndpointInput("http://127.0.0.1:9/a", types=("order.*",), metadata={"team": "a"}, timeout=3)
    made, secret = await ground.endpoints.create(APP, given)
    assert secret.startswith(PREFIX)
    assert await ground.endpoints.get(APP, made.id) == made
    changed = await ground.endpoints.update(APP, made.id, EndpointPatch(types=None, max_in_flight=3))
    assert (changed.types, changed.max_in_flight, changed.timeout, changed.url) == (None, 3, 3, made.url)
    assert (await ground.endpoints.secrets(APP, made.id)).secret == secret
    assert await ground.endpoints.page(APP, Window(10)) == ([changed], None, None)
    await ground.endpoints.delete(APP, made.id)
    for act in (ground.endpoints.get, ground.endpoints.secrets, ground.endpoints.delete):
        with pytest.raises(NotFound):
            await act(APP, made.id)
    assert await ground.endpoints.page(APP, Window(10)) == ([], None, None)


async def test_another_apps_endpoint_is_not_found(ground: Ground) -> None:
    ep = await ground.endpoint()
    for act in (ground.endpoints.get, ground.endpoints.secrets, ground.endpoints.delete):
        with pytest.raises(NotFound):
            await act("other", ep)
    with pytest.raises(NotFound):
        await ground.endpoints.update("other", ep, EndpointPatch(description="mine"))
    assert (await ground.endpoints.get(APP, ep)).description == ""


async def test_endpoints_are_listed_newest_first_in_pages(ground: Ground) -> None:
    ids: list[str] = []
    for _ in range(5):
        ids.append(await ground.endpoint())
        await asyncio.sleep(0.002)  # ids made in the same millisecond have no order
    first, cursor, _ = await ground.endpoints.page(APP, Window(3, descending=True))
    assert cursor is not None
    rest, end, _ = await ground.endpoints.page(APP, Window(3, cursor, descending=True))
    assert [one.id for one in (*first, *rest)] == ids[::-1]
    assert end is None


async def test_secrets_rest_sealed_for_their_endpoint_alone(ground: Ground, store: StoreProcess) -> None:
    given = "whsec_" + "A" * 40
    made, secret = await ground.endpoints.create(APP, EndpointInput("http://127.0.0.1:9/", secret=given))
    assert secret == given
    with store.client() as client:
        client.config_set("rdbcompression", "no")  # a dump would hide what it holds
        for key in client.keys("hub:*"):
            assert given.encode() not in (client.dump(key) or b"")
    assert b'"secret":"v1:' in await ground.link.call("HGET", _truth(ground, made.id), "config")
    secrets = Secrets(b"k" * 32)
    with pytest.raises(NotConfigured):
        secrets.open("ep_another", secrets.seal(made.id, given))
    with pytest.raises(NotConfigured):
        Secrets(b"x" * 32).open(made.id, secrets.seal(made.id, given))


async def test_without_a_key_no_endpoint_is_made(ground: Ground) -> None:
    bare = Endpoints(ground.link, structs.replace(ground.settings, secret_key=None), ground.log)
    with pytest.raises(NotConfigured):
        await bare.create(APP, EndpointInput("http://127.0.0.1:9/"))


async def test_what_may_be_registered_is_the_settings_to_say(link: Link) -> None:
    strict = Ground(link, HUB_WEBHOOK_ALLOW_HTTP="0", HUB_WEBHOOK_ALLOW_NETWORKS="10.1.0.0/16")
    ep = await strict.endpoint(url="https://10.1.2.3/")
    for url in ("http://partner.example/", "https://127.0.0.1/", "https://10.2.0.1/"):
        with pytest.raises(EndpointUrlForbidden):
            await strict.endpoint(url=url)
        with pytest.raises(EndpointUrlForbidden):
            await strict.endpoints.update(APP, ep, EndpointPatch(url=url))
    assert (await strict.endpoints.get(APP, ep)).url == "https://10.1.2.3/"


async def test_changes_at_the_same_time_are_both_kept(ground: Ground) -> None:
    ep = await ground.endpoint()
    await asyncio.gather(
        ground.endpoints.update(APP, ep, EndpointPatch(description="a")),
        ground.endpoints.update(APP, ep, EndpointPatch(max_in_flight=7)),
        ground.endpoints.update(APP, ep, EndpointPatch(metadata={"x": "y"})),
    )
    after = await ground.endpoints.get(APP, ep)
    assert (after.description, after.max_in_flight, after.metadata) == ("a", 7, {"x": "y"})


async def test_what_dispatch_was_not_told_of_goes_away_by_itself(ground: Ground, store: StoreProcess) -> None:
    kept = await ground.endpoint()
    await ground.link.call("SET", keys.ENDPOINT_CHANGES, "not a stream")  # the index refuses what is written
    with pytest.raises(Exception, match="WRONGTYPE"):
        await ground.endpoint()
    with store.client() as client:
        found = cast("list[bytes]", client.keys("hub:{d*}:e:*"))
        lives = {key.decode().rpartition(":")[2]: client.ttl(key) for key in found}
    assert lives.pop(kept) == -1
    assert [0 < ttl <= 300 for ttl in lives.values()] == [True]


async def test_a_listing_forgets_what_is_only_in_the_index(ground: Ground) -> None:
    kept, lost = await ground.endpoint(), await ground.endpoint()
    await ground.link.call("DEL", _truth(ground, lost))
    for _ in range(2):
        page, _, _ = await ground.endpoints.page(APP, Window(10))
        assert [one.id for one in page] == [kept]
        assert await ground.endpoints.ids(APP) == [kept]
    audience = Audience(ground.link)
    await audience.refresh()
    (entry,) = await ground.append(1)
    assert audience.match(entry) == [kept]


async def test_dispatch_learns_of_every_change(ground: Ground) -> None:
    audience = Audience(ground.link)
    await audience.refresh()
    kept, gone = await ground.endpoint(topics=("orders.**",)), await ground.endpoint()
    (entry,) = await ground.append(1)
    await audience.refresh()
    assert sorted(audience.match(entry)) == sorted([kept, gone])
    await ground.endpoints.delete(APP, gone)
    await ground.endpoints.update(APP, kept, EndpointPatch(types=("order.created", "order.paid")))
    await audience.refresh()
    assert audience.match(entry) == [kept]
    await ground.endpoints.update(APP, kept, EndpointPatch(topics=("users.*",)))
    await audience.refresh()
    assert audience.match(entry) == []


async def test_dispatch_reads_all_endpoints_anew_when_its_version_is_gone(ground: Ground) -> None:
    audience = Audience(ground.link)
    ep = await ground.endpoint()
    await audience.refresh()
    (entry,) = await ground.append(1)
    assert audience.match(entry) == [ep]
    await ground.link.call("FLUSHALL")  # the store came back empty
    await audience.refresh()
    assert audience.match(entry) == []
    new = await ground.endpoint()
    (entry,) = await ground.append(1)
    await ground.link.call("XTRIM", keys.ENDPOINT_CHANGES, "MAXLEN", 1)
    await audience.refresh()
    assert audience.match(entry) == [new]


async def test_an_endpoint_is_not_owed_what_was_there_before_it(ground: Ground) -> None:
    audience = Audience(ground.link)
    (old,) = await ground.append(1)
    ep = await ground.endpoint()
    (new,) = await ground.append(1)
    await audience.refresh()
    assert audience.match(old) == []
    assert audience.match(new) == [ep]


def _truth(ground: Ground, endpoint_id: str) -> str:
    return keys.endpoint(ground.queues.partition_of(endpoint_id), endpoint_id)
