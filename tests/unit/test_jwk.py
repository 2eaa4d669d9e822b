"""Keys that verify: which are taken, and that none is taken for another."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st

from hub.core import jwk
from tests.unit.test_jose import key_of, pem, private


def members(algorithm: str) -> dict[str, Any]:
    return json.loads(jwk.public_text(key_of(algorithm)))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_read_as_pem_and_as_jwk_and_its_kind_is_its_algorithm(algorithm: str) -> None:
    key = jwk.public_key(pem(algorithm), "k1")
    assert (key.id, key.algorithm) == ("k1", algorithm)
    again = jwk.public_key(json.dumps({**members(algorithm), "kid": "other", "use": "sig", "x-more": 1}), "k1")
    assert jwk.public_text(again) == jwk.public_text(key)
    assert (again.id, again.algorithm) == ("k1", algorithm)
    assert "x-more" not in jwk.public_text(again)


def pem_of(key: Any) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "{",
        "{}",
        "[]",
        '{"kty": "oct", "k": "AAAA"}',
        '{"kty": "RSA"}',
        '{"kty": ["RSA"]}',
        '{"kty": "EC", "crv": "P-256", "x": 1, "y": 2}',
        '{"kty": "OKP", "crv": "X25519", "x": "AAAA"}',
        "{" + '"a":[' * 2000,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "x" * 10_000,
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        jwk.public_key(text)


def test_weak_and_foreign_kinds_of_keys_are_refused() -> None:
    kinds = [rsa.generate_private_key(65537, 1024),  # noqa: S505 - that is what is refused
             ec.generate_private_key(ec.SECP384R1()),
             ed448.Ed448PrivateKey.generate(), dsa.generate_private_key(2048)]  # fmt: skip
    for kind in kinds:
        with pytest.raises(ValueError):
            jwk.public_key(pem_of(kind))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_private_key_is_refused(algorithm: str) -> None:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = private(algorithm).private_bytes(encoding, form, serialization.NoEncryption()).decode()
    for one in (text, json.dumps({**members(algorithm), "d": "AAAA"})):
        with pytest.raises(ValueError, match="private"):
            jwk.public_key(one)


@pytest.mark.parametrize(
    "change", [{"alg": "RS512"}, {"alg": "HS256"}, {"use": "enc"}, {"key_ops": ["sign"]}, {"kid": 7}]
)
def test_a_jwk_for_another_use_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        jwk.public_key(json.dumps({**members("RS256"), **change}))


def test_a_jwks_gives_the_keys_that_verify_and_passes_over_the_others() -> None:
    good = [{**members(algorithm), "kid": algorithm} for algorithm in ("RS256", "ES256", "EdDSA")]
    bad: list[Any] = [{"kty": "oct", "k": "AAAA", "kid": "s"}, {**members("RS256"), "use": "enc"}, {"kty": "EC"}, {}]
    found = jwk.parse_jwks(json.dumps({"keys": [*bad, *good], "more": 1}).encode())
    assert [(key.id, key.algorithm) for key in found] == [(name, name) for name in ("RS256", "ES256", "EdDSA")]
    assert len(jwk.parse_jwks(json.dumps({"keys": good * 100}).encode())) == jwk.MAX_KEYS


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"keys": {}}', b'{"keys": [1]}', b"\xff", b'{"keys":' + b"[" * 9000]
)
def test_what_is_no_jwks_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        jwk.parse_jwks(body)


def test_a_secret_must_be_long_and_no_keys_text() -> None:
    assert jwk.secret_key("s" * 32, "k").id == "k"
    for wrong in (
        "",
        "s" * 31,
        "ssh-rsa " + "A" * 40,
        "ecdsa-sha2-nistp256 " + "A" * 40,
        '{"kty": "oct", "k": "' + "A" * 40,
    ):
        with pytest.raises(ValueError):
            jwk.secret_key(wrong)


@given(st.dictionaries(st.sampled_from(["kty", "crv", "alg", "use", "kid", "n", "e", "x", "y", "k", "key_ops", "d"]),
                       st.none() | st.integers() | st.text(max_size=30) | st.lists(st.text(max_size=3), max_size=2)
                       | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "AQAB", "AAAA"])))  # fmt: skip
def test_arbitrary_members_give_a_key_or_a_refusal(jwk_members: dict[str, Any]) -> None:
    try:
        key = jwk.public_key(json.dumps(jwk_members))
    except ValueError:
        return
    assert key.algorithm in jwk.ALGORITHMS
    assert isinstance(key.jwk, jwt.PyJWK)
