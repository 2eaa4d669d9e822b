"""Changing HUB_SECRET_KEY: both keys open, the new one seals, and then the old one is needed no more."""

import secrets

import msgspec
import pytest

from hub.core.errors import NotConfigured
from hub.core.rotation import Rotation
from hub.core.tenant import AppInput, SigningKeyInput
from hub.reseal import reseal
from hub.settings import Settings
from hub.store.apps import Apps
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.revocations import Revocations
from hub.store.versioned import Version
from tests.support.webhooks import APP, Ground

OLD, NEW = b"k" * 32, b"n" * 32


def with_keys(ground: Ground, key: bytes, *previous: bytes) -> Settings:
    return msgspec.structs.replace(ground.settings, secret_key=key, secret_key_previous=previous)


def apps_of(link: Link, settings: Settings) -> Apps:
    return Apps(link, settings, Version(link), Revocations(link))


async def test_after_resealing_the_new_key_alone_opens_all_secrets_that_the_old_one_sealed(
    ground: Ground, link: Link
) -> None:
    ids = [await ground.endpoint() for _ in range(3)]
    await ground.endpoints.rotate(APP, ids[0], Rotation(grace=3600))
    before = [await ground.endpoints.secrets(APP, one) for one in ids]
    old_apps, secret = apps_of(link, ground.settings), secrets.token_urlsafe(40)
    await old_apps.create(AppInput("other", "Other"))
    await old_apps.add_key("other", SigningKeyInput(secret=secret))
    both, alone = with_keys(ground, NEW, OLD), with_keys(ground, NEW)

    during = Endpoints(link, both, ground.log)
    assert [await during.secrets(APP, one) for one in ids] == before
    after = Endpoints(link, alone, ground.log)
    with pytest.raises(NotConfigured):
        await after.secrets(APP, ids[0])

    found, changed = await reseal(link, both)
    assert (found, changed) == (5, 4), "the default app has no signing key"
    assert [await after.secrets(APP, one) for one in ids] == before
    assert (await apps_of(link, alone).signing("other"))[1] == secret
    with pytest.raises(NotConfigured):
        await ground.endpoints.secrets(APP, ids[1])

    assert await reseal(link, both) == (5, 0), "again, nothing is left to do"


async def test_without_the_old_key_nothing_is_changed(ground: Ground, link: Link) -> None:
    endpoint = await ground.endpoint()
    before = await ground.endpoints.secrets(APP, endpoint)
    with pytest.raises(NotConfigured):
        await reseal(link, with_keys(ground, NEW))
    assert await ground.endpoints.secrets(APP, endpoint) == before
