"""Signed tokens: only an app's own keys, each for its own algorithm, and only in their time."""

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from hub.core import jose, jwk
from hub.core.errors import Unauthenticated
from hub.core.jose import Rules
from hub.core.jwk import Key

SECRET = "a-secret-of-an-app-0123456789-0123456789"
NOW = 1_700_000_000.0
GOOD: dict[str, Any] = {"exp": NOW + 60, "sub": "ann"}
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def private(algorithm: str) -> Private:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


def pem(algorithm: str) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return private(algorithm).public_key().public_bytes(serialization.Encoding.PEM, spki).decode()


def key_of(algorithm: str, id: str | None = None) -> Key:
    return jwk.secret_key(SECRET, id) if algorithm == "HS256" else jwk.public_key(pem(algorithm), id)


def signed(algorithm: str, claims: Any = GOOD, **header: Any) -> str:
    signer: Any = SECRET if algorithm == "HS256" else private(algorithm)
    return jwt.encode(claims, signer, algorithm=algorithm, headers=header)


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def hmac_signed(header: Any, claims: Any, secret: bytes) -> str:
    """Signed by HMAC whatever the header says."""
    text = f"{encoded(header)}.{encoded(claims)}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def verified(token: str, keys: list[Key], rules: Rules | None = None, now: float = NOW, **more: bool) -> Any:
    found = jose.candidates(jose.glance(token), keys)
    return jose.verify(token, found, rules or Rules(), now, **more)[0]


def refused(token: str, keys: list[Key], rules: Rules | None = None, now: float = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verified(token, keys, rules, now)
    assert token not in caught.value.message
    return caught.value.message


ALL = [key_of(algorithm) for algorithm in jwk.ALGORITHMS]


@pytest.mark.parametrize("algorithm", jwk.ALGORITHMS)
def test_each_algorithm_verifies_by_its_own_key_alone(algorithm: str) -> None:
    token = signed(algorithm)
    assert verified(token, ALL)["sub"] == "ann"
    assert verified(token, [key_of(algorithm)])["sub"] == "ann"
    refused(token, [key for key in ALL if key.algorithm != algorithm])
    head, body, signature = token.split(".")
    refused(f"{head}.{encoded({**GOOD, 'sub': 'bob'})}.{signature}", ALL)
    refused(f"{head}.{body}.{signature[:-6]}AAAAAA", ALL)
    refused(f"{head}.{body}.", ALL)


def test_a_token_of_somebody_elses_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    refused(jwt.encode(GOOD, other, algorithm="ES256"), ALL)
    refused(jwt.encode(GOOD, SECRET[::-1], algorithm="HS256"), ALL)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_hmac_secret(algorithm: str) -> None:
    for secret in (pem(algorithm), pem(algorithm).strip(), jwk.public_text(key_of(algorithm))):
        token = hmac_signed({"alg": "HS256"}, GOOD, secret.encode())
        refused(token, [key_of(algorithm)])
        refused(token, ALL)
        with pytest.raises(ValueError, match="key"):
            jwk.secret_key(secret)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "HS384", "HS512", "RS512", "PS256", "ES256K", 7, []])
def test_no_other_algorithm_counts(alg: object) -> None:
    for token in (hmac_signed({"alg": alg}, GOOD, SECRET.encode()), f"{encoded({'alg': alg})}.{encoded(GOOD)}."):
        refused(token, ALL)


def test_the_key_is_never_taken_from_the_header() -> None:
    attacker = ec.generate_private_key(ec.SECP256R1())
    own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(attacker.public_key()))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType]
    for header in ({"jwk": own}, {"jku": "https://evil.example/"}, {"x5u": "https://evil.example/"}, {"x5c": ["AAAA"]}):
        refused(jwt.encode(GOOD, attacker, algorithm="ES256", headers=header), ALL)
        assert verified(signed("ES256", **header), ALL)["sub"] == "ann"


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}])
def test_headers_that_change_what_a_token_means_are_refused(header: dict[str, Any]) -> None:
    refused(hmac_signed({"alg": "HS256", **header}, GOOD, SECRET.encode()), ALL)


def test_a_key_id_only_chooses_among_the_apps_keys() -> None:
    first, second = jwk.secret_key(SECRET, "one"), jwk.secret_key(SECRET[::-1], "two")
    assert verified(signed("HS256", kid="one"), [first, second])["sub"] == "ann"
    refused(signed("HS256", kid="two"), [first, second])
    for kid in ("three", "", "../one", "one'--", "/dev/null", "x" * 5000):
        refused(signed("HS256", kid=kid), [first, second])
    assert verified(signed("HS256"), [second, first])["sub"] == "ann"
    assert verified(signed("HS256", kid="any"), [key_of("HS256")])["sub"] == "ann", "a key without an id takes any"
    for kid in (7, ["one"], {"a": 1}):
        refused(hmac_signed({"alg": "HS256", "kid": kid}, GOOD, SECRET.encode()), [first])


def test_issuer_and_audience_are_asked_for_where_they_are_set() -> None:
    rules = Rules("https://id.example", "hub")
    good = {**GOOD, "iss": "https://id.example", "aud": "hub"}
    assert verified(signed("HS256", good), ALL, rules)["sub"] == "ann"
    assert verified(signed("HS256", {**good, "aud": ["a", "hub"]}), ALL, rules)["sub"] == "ann"
    wrongs: tuple[dict[str, Any], ...] = (
        {"iss": "https://id.example/"}, {"iss": None}, {"iss": ["https://id.example"]}, {"aud": "other"},
                  {"aud": []}, {"aud": {"hub": 1}}, {"aud": None})  # fmt: skip
    for wrong in wrongs:
        refused(hmac_signed({"alg": "HS256"}, {**good, **wrong}, SECRET.encode()), ALL, rules)
    for name in ("iss", "aud"):
        refused(signed("HS256", {key: value for key, value in good.items() if key != name}), ALL, rules)
    assert verified(signed("HS256", good), ALL)["sub"] == "ann"


def test_a_token_counts_from_nbf_until_exp_and_leeway_widens_both() -> None:
    token = signed("HS256", {"nbf": NOW, "exp": NOW + 10})
    for now, leeway in ((NOW, 0), (NOW + 9.9, 0), (NOW - 5, 5), (NOW + 14.9, 5)):
        assert verified(token, ALL, Rules(leeway=leeway), now)
    for now, leeway in ((NOW - 0.1, 0), (NOW + 10, 0), (NOW - 5.1, 5), (NOW + 15, 5)):
        refused(token, ALL, Rules(leeway=leeway), now)
    found = jose.candidates(jose.glance(token), ALL)
    assert jose.verify(token, found, Rules(), NOW + 999, expired=True)[0]["exp"] == NOW + 10


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", None, True, [], {}, "1700000000", float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(name: str, value: object) -> None:
    refused(hmac_signed({"alg": "HS256"}, {**GOOD, name: value}, SECRET.encode()), ALL)


def test_a_token_without_an_end_or_from_the_future_is_refused() -> None:
    assert "exp" in refused(signed("HS256", {"sub": "ann"}), ALL)
    assert "iat" in refused(signed("HS256", {**GOOD, "iat": NOW + 61}), ALL)
    assert verified(signed("HS256", {**GOOD, "iat": NOW + 59}), ALL)


def test_a_token_may_be_16_kib_long_and_no_longer() -> None:
    def padded(more: int) -> str:
        return signed("HS256", {**GOOD, "x": "x" * more})

    room = 16 * 1024 - len(padded(0))
    assert verified(padded(room * 3 // 4 - 2), ALL)["sub"] == "ann"
    assert "characters" in refused(padded(room * 3 // 4 + 3), ALL)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "a" * 20_000, f"{'a' * 9000}.{'a' * 9000}.a", f"{encoded([])}.{encoded(GOOD)}.AA",
     f"{encoded({'alg': 'HS256'})}.{encoded([1])}.AA", f"{encoded({'alg': 'HS256'})}.bm90IGpzb24.AA", "é.é.é",
     base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.AA",
     f"{encoded({'alg': 'HS256'})}.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.AA"],
)  # fmt: skip
def test_what_is_no_token_is_refused_in_order(token: str) -> None:
    with pytest.raises(Unauthenticated):
        verified(token, ALL)


@given(
    st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), st.from_regex(r"[\w-]+\.[\w-]+\.[\w-]*"))
)
def test_arbitrary_text_is_refused_in_order(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verified(text, ALL)


_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                     lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part, max_size=3),
                     max_leaves=6)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c", "cty"]), _json), _json)
def test_arbitrary_headers_and_claims_are_refused_in_order(header: dict[str, Any], claims: Any) -> None:
    token = hmac_signed({"alg": "HS256", **header}, claims, b"another secret, which signs for nobody")
    with pytest.raises(Unauthenticated):
        verified(token, ALL, Rules("a", "b"))
