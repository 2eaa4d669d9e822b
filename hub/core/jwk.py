"""Keys that verify tokens (RFC 7517), each bound to one algorithm: secrets, public keys, and the documents of them."""

from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

Algorithm: TypeAlias = Literal["HS256", "RS256", "ES256", "EdDSA"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
MAX_KEYS: Final = 100
"""Keys of one JWKS that are read."""
MAX_TEXT: Final = 8192
"""Characters of one public key's text."""
MIN_SECRET: Final = 32
"""Bytes of an HMAC secret (RFC 7518, section 3.2)."""
MIN_RSA: Final = 2048
_KINDS: Final[dict[tuple[str, str | None], Algorithm]] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
_MEMBERS: Final = {"RS256": ("kty", "n", "e"), "ES256": ("kty", "crv", "x", "y"), "EdDSA": ("kty", "crv", "x")}


class Key(NamedTuple):
    """What verifies: a key with its algorithm, and the id by which a token may name it."""

    id: str | None
    algorithm: Algorithm
    jwk: PyJWK


class _Jwk(msgspec.Struct):
    """The members of a JWK that decide whether it can verify; the numbers are the library's to read."""

    kty: str
    crv: str | None = None
    alg: str | None = None
    use: str = "sig"
    key_ops: list[str] = msgspec.field(default_factory=lambda: ["verify"])
    kid: str | None = None
    d: Any = None


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


def secret_key(secret: str, id: str | None = None) -> Key:
    """The key of an HS256 secret. Raises ValueError for one that is too short, or is a public key's text."""
    raw = secret.encode()
    if len(raw) < MIN_SECRET:
        raise ValueError(f"has {len(raw)} bytes; HS256 needs {MIN_SECRET}")
    if secret.lstrip().startswith(("-----BEGIN", "ssh-", "ecdsa-", "{")):
        raise ValueError("is the text of a key, which others may know, and no secret")
    return Key(id, "HS256", PyJWK({"kty": "oct", "k": base64url_encode(raw).decode()}, "HS256"))


def public_key(text: str, id: str | None = None) -> Key:
    """The key of a public key in PEM (RFC 7468) or as a JWK; its kind decides the algorithm.

    Raises ValueError, also for a private key, which isn't ours to have.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"has {len(text)} characters; allowed are {MAX_TEXT}")
    if not text.lstrip().startswith("{"):
        return Key(id, *_read(_from_pem(text)))
    try:
        return Key(id, *_read(msgspec.json.decode(text, type=dict[str, Any])))
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("is no JSON, which a JWK is") from None


def public_text(key: Key) -> str:
    """A public key as a JWK that holds nothing else."""
    whole: Any = key.jwk.Algorithm.to_jwk(key.jwk.key, as_dict=True)
    return msgspec.json.encode({name: whole[name] for name in _MEMBERS[key.algorithm]}).decode()


def parse_jwks(body: bytes) -> list[Key]:
    """The verifying keys of a JWKS (RFC 7517, section 5); those of other kinds or uses are passed over.

    Raises ValueError for what is no JWKS.
    """
    try:
        document = msgspec.json.decode(body, type=_Jwks)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise ValueError(f"is no JWKS: {exc}") from None
    found: list[Key] = []
    for jwk in document.keys[:MAX_KEYS]:
        try:
            algorithm, loaded = _read(jwk)
        except ValueError:
            continue
        found.append(Key(jwk.get("kid"), algorithm, loaded))
    return found


def _from_pem(text: str) -> dict[str, Any]:
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key; send its public half")
    try:
        loaded = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is neither a public key in PEM nor a JWK") from None
    if isinstance(loaded, rsa.RSAPublicKey):
        return dict(RSAAlgorithm.to_jwk(loaded, as_dict=True))
    if isinstance(loaded, ec.EllipticCurvePublicKey):
        return dict(ECAlgorithm.to_jwk(loaded, as_dict=True))
    if isinstance(loaded, ed25519.Ed25519PublicKey):
        return dict(OKPAlgorithm.to_jwk(loaded, as_dict=True))
    raise ValueError("is of a kind that is not supported; use RSA, P-256 or Ed25519")


def _read(jwk: dict[str, Any]) -> tuple[Algorithm, PyJWK]:
    """A public verifying key. Symmetric keys have no place in a document that others can read."""
    try:
        given = msgspec.convert(jwk, _Jwk)
    except msgspec.ValidationError as exc:
        raise ValueError(f"is no JWK: {exc}") from None
    if given.d is not None:
        raise ValueError("is a private key; send its public half")
    algorithm = _KINDS.get((given.kty, given.crv))
    if algorithm is None or given.alg not in (None, algorithm):
        raise ValueError("is of a kind that is not supported; use RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA)")
    if given.use != "sig" or "verify" not in given.key_ops:
        raise ValueError("is not a key that verifies signatures")
    try:
        loaded = PyJWK(jwk, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise ValueError("is no JWK that can be read") from None
    if isinstance(loaded.key, rsa.RSAPublicKey) and loaded.key.key_size < MIN_RSA:
        raise ValueError(f"has {loaded.key.key_size} bits; RS256 needs {MIN_RSA}")
    return algorithm, loaded
