"""Signatures as receivers get them: symmetric, asymmetric, and several while a secret is rotated."""

import base64
from collections.abc import AsyncIterator, Iterator

import pytest
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from hub.core.endpoint import EndpointInput
from hub.core.errors import NotFound
from hub.core.rotation import Rotation
from hub.core.signing import PRIVATE, PUBLIC, new_secret
from tests.support.hub import Hub
from tests.support.receiver import Got, Receiver
from tests.support.store import StoreProcess
from tests.support.webhook_site import emptied, start
from tests.support.webhooks import APP, Ground


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with start() as running:
        yield running


@pytest.fixture
async def site(hub: Hub) -> AsyncIterator[Ground]:
    async with emptied(hub) as opened:
        yield opened


async def sent(ground: Ground, receiver: Receiver) -> Got:
    """What arrives next, of one more event."""
    count = len(receiver.got) + 1
    await ground.append(1)
    return (await receiver.until(count))[-1]


def signatures(got: Got) -> list[str]:
    return [one.partition(",")[0] for one in got.headers["webhook-signature"].split(" ")]


def verify_asymmetric(public: str, got: Got) -> None:
    """By ed25519 alone, as a receiver without a library for it does."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix(PUBLIC)))
    content = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    (signature,) = [one[4:] for one in got.headers["webhook-signature"].split(" ") if one.startswith("v1a,")]
    key.verify(base64.b64decode(signature), content)


async def test_an_asymmetric_endpoint_shows_its_public_key_alone_and_signs_with_the_other(site: Ground) -> None:
    async with Receiver() as receiver:
        made, public = await site.endpoints.create(APP, EndpointInput(receiver.url(), signature="v1a"))
        assert (made.signature, public[:5]) == ("v1a", PUBLIC)
        assert (await site.endpoints.secrets(APP, made.id)).secret == public
        got = await sent(site, receiver)
        assert signatures(got) == ["v1a"]
        verify_asymmetric(public, got)


async def test_during_a_rotation_the_old_and_the_new_secret_verify_and_after_it_only_the_new(site: Ground) -> None:
    async with Receiver() as receiver:
        made, old = await site.endpoints.create(APP, EndpointInput(receiver.url()))
        now = await site.endpoints.rotate(APP, made.id, Rotation(grace=3600))
        assert [(one.secret, one.signature) for one in now.previous] == [(old, "v1")]
        assert now == await site.endpoints.secrets(APP, made.id)
        got = await sent(site, receiver)
        assert signatures(got) == ["v1", "v1"]
        for secret in (old, now.secret):
            assert Webhook(secret).verify(got.body, got.headers) == got.event
            svix.webhooks.Webhook(secret).verify(got.body, got.headers)
        last = await site.endpoints.rotate(APP, made.id, Rotation(grace=0))
        assert last.previous == []
        got = await sent(site, receiver)
        assert signatures(got) == ["v1"]
        Webhook(last.secret).verify(got.body, got.headers)
        for secret in (old, now.secret):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(got.body, got.headers)


async def test_a_grace_ends_by_itself(site: Ground) -> None:
    async with Receiver() as receiver:
        made, old = await site.endpoints.create(APP, EndpointInput(receiver.url()))
        await site.endpoints.rotate(APP, made.id, Rotation(grace=1))
        got = await sent(site, receiver)
        while (
            len(signatures(got)) > 1
        ):  # each asks a real worker anew; the suite's own limit ends it if the grace never does
            got = await sent(site, receiver)
        with pytest.raises(WebhookVerificationError):
            Webhook(old).verify(got.body, got.headers)
        assert (await site.endpoints.secrets(APP, made.id)).previous == []


async def test_a_rotation_can_change_the_kind_of_signature_with_both_valid_meanwhile(site: Ground) -> None:
    async with Receiver() as receiver:
        made, old = await site.endpoints.create(APP, EndpointInput(receiver.url()))
        own = new_secret("v1a")
        now = await site.endpoints.rotate(APP, made.id, Rotation(signature="v1a", secret=own))
        assert (now.signature, now.secret[:5]) == ("v1a", PUBLIC)
        assert (await site.endpoints.get(APP, made.id)).signature == "v1a"
        got = await sent(site, receiver)
        assert signatures(got) == ["v1a", "v1"]
        verify_asymmetric(now.secret, got)
        Webhook(old).verify(got.body, got.headers)


async def test_no_secret_of_a_rotation_rests_in_the_open(ground: Ground, store: StoreProcess) -> None:
    first, second = new_secret(), new_secret("v1a")
    made, _ = await ground.endpoints.create(APP, EndpointInput("http://127.0.0.1:9/", secret=first))
    await ground.endpoints.rotate(APP, made.id, Rotation(signature="v1a", secret=second))
    await ground.endpoints.rotate(APP, made.id, Rotation())
    rest = b""
    with store.client() as client:
        client.config_set("rdbcompression", "no")  # a dump would hide what it holds
        for key in client.keys("hub:*"):
            rest += client.dump(key) or b""
    assert b'"retired"' in rest
    for secret in (first, second):
        assert secret.removeprefix(PRIVATE).removeprefix("whsec_")[:20].encode() not in rest


async def test_another_apps_secrets_are_not_found(ground: Ground) -> None:
    ep = await ground.endpoint()
    with pytest.raises(NotFound):
        await ground.endpoints.secrets("other", ep)
    with pytest.raises(NotFound):
        await ground.endpoints.rotate("other", ep, Rotation())
