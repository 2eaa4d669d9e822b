"""Standard Webhooks signatures, against the published vector and the reference implementation."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from hub.core.errors import Invalid
from hub.core.signing import PREFIX, new_secret, secret_key, sign


def test_the_published_vector_is_met() -> None:
    key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(body=st.text().map(str.encode), id=st.from_regex(r"evt_[0-9a-f]{1,40}", fullmatch=True))
def test_the_reference_implementation_agrees(body: bytes, id: str) -> None:
    secret = new_secret()
    timestamp = int(datetime.now(UTC).timestamp())
    assert sign(secret_key(secret), id, timestamp, body) == Webhook(secret).sign(
        id, datetime.fromtimestamp(timestamp, UTC), body.decode()
    )


def test_a_changed_body_is_refused_by_the_reference_implementation() -> None:
    secret = new_secret()
    timestamp = int(datetime.now(UTC).timestamp())
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret_key(secret), "evt_1", timestamp, b'{"a":1}'),
    }
    assert Webhook(secret).verify('{"a":1}', headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify('{"a":2}', headers)


def test_a_new_secret_holds_32_bytes_and_is_never_the_same() -> None:
    assert len(secret_key(new_secret())) == 32
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    "secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", PREFIX, PREFIX + "AAAA", PREFIX + "A" * 200, PREFIX + "é" * 40]
)
def test_a_secret_of_another_form_is_refused_by_name(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        secret_key(secret)
    assert refused.value.details[0].field == "secret"
