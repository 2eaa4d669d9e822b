"""Standard Webhooks signatures, against the published vectors and the implementations of others."""

import base64
from datetime import UTC, datetime

import pytest
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from hub.core.errors import Invalid
from hub.core.signing import PREFIX, PRIVATE, PUBLIC, key_of, kind_of, new_secret, shown, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAIR = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


@pytest.mark.parametrize(("secrets", "signature"), [([SECRET], V1), ([PAIR], V1A), ([PAIR, SECRET], f"{V1A} {V1}")])
def test_the_published_vectors_are_met(secrets: list[str], signature: str) -> None:
    assert sign([key_of(one) for one in secrets], ID, TIMESTAMP, BODY) == signature


@given(body=st.text().map(str.encode), id=st.from_regex(r"evt_[0-9a-f]{1,40}", fullmatch=True))
def test_the_reference_implementation_agrees(body: bytes, id: str) -> None:
    secret = new_secret()
    now = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()), UTC)
    ours = sign([key_of(secret)], id, int(now.timestamp()), body)
    assert (
        ours
        == Webhook(secret).sign(id, now, body.decode())
        == svix.webhooks.Webhook(secret).sign(id, now, body.decode())
    )


@given(body=st.binary(), id=st.from_regex(r"evt_[0-9a-f]{1,40}", fullmatch=True))
def test_an_asymmetric_signature_verifies_with_the_public_half_alone(body: bytes, id: str) -> None:
    secret = new_secret("v1a")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(shown(secret).removeprefix(PUBLIC)))
    signature = base64.b64decode(sign([key_of(secret)], id, 7, body).removeprefix("v1a,"))
    public.verify(signature, f"{id}.7.".encode() + body)
    with pytest.raises(InvalidSignature):
        public.verify(signature, f"{id}.8.".encode() + body)


@pytest.mark.parametrize("verifier", [Webhook, svix.webhooks.Webhook])
def test_either_secret_of_a_rotation_verifies_and_a_changed_body_never(verifier: type[Webhook]) -> None:
    old, new = new_secret(), new_secret()
    timestamp = int(datetime.now(UTC).timestamp())
    secrets = (new, new_secret("v1a"), old)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign([key_of(one) for one in secrets], "evt_1", timestamp, b'{"a":1}'),
    }
    for secret in (old, new):
        verifier(secret).verify('{"a":1}', headers)
        with pytest.raises(WebhookVerificationError):
            verifier(secret).verify('{"a":2}', headers)
    with pytest.raises(WebhookVerificationError):
        verifier(new_secret()).verify('{"a":1}', headers)


def test_a_new_secret_holds_32_bytes_or_a_key_pair_and_is_never_the_same() -> None:
    key = key_of(new_secret())
    assert isinstance(key, bytes)
    assert len(key) == 32
    assert (kind_of(new_secret()), kind_of(new_secret("v1a"))) == ("v1", "v1a")
    assert len({new_secret(), new_secret(), new_secret("v1a"), new_secret("v1a")}) == 4


def test_a_private_key_is_never_shown() -> None:
    assert shown(SECRET) == SECRET
    assert shown(PAIR) == PUBLIC + base64.b64encode(base64.b64decode(PAIR.removeprefix(PRIVATE))[32:]).decode()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        PREFIX,
        PREFIX + "AAAA",
        PREFIX + "A" * 200,
        PREFIX + "é" * 40,
        PRIVATE,
        PRIVATE + "A" * 43 + "=",
        PRIVATE + "A" * 86 + "==",
        PAIR.replace("6Xb", "7Xb"),
        PUBLIC + "A" * 43 + "=",
    ],
)
def test_a_secret_of_another_form_is_refused_by_name(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        key_of(secret)
    assert refused.value.details[0].field == "secret"
