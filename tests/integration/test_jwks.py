"""Tokens of other issuers: their keys are fetched, remembered, rotated, and missed without harm."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from hub.core import jwk
from hub.core.errors import KeysUnavailable, Unauthenticated
from hub.core.tenant import AppInput, SigningKeyInput, TokenRules
from hub.settings import load
from hub.store.apps import Apps
from hub.store.connect import Link
from hub.store.revocations import Revocations
from hub.store.versioned import Version
from hub.web import jwks as fetching
from hub.web.jwks import Jwks
from hub.web.tokens import Tokens
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.unit.test_jose import key_of, pem, private

PATH = "/jwks.json"


def document(*algorithms: str, padding: int = 0) -> bytes:
    """A JWKS of these keys, each with its algorithm as its id, with so many blanks behind it."""
    found = [{**json.loads(jwk.public_text(key_of(name))), "kid": name} for name in algorithms]
    return answer(200, json.dumps({"keys": found}).encode() + b" " * padding)


def signed(algorithm: str, kid: str | None = None, **claims: Any) -> str:
    body = {"app": "acme", "exp": time.time() + 600, **claims}
    signer: Any = private(algorithm)
    return jwt.encode(body, signer, algorithm=algorithm, headers={"kid": kid or algorithm})


@pytest.fixture
async def site() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        running.then = document("RS256", "ES256")
        yield running


@pytest.fixture
async def jwks() -> AsyncIterator[Jwks]:
    opened = Jwks()
    yield opened
    await opened.close()


@pytest.fixture
async def tokens(link: Link, jwks: Jwks, site: Receiver) -> Tokens:
    """What verifies the tokens of an app whose issuer is the site."""
    version = Version(link)
    apps = Apps(link, load({}), version, Revocations(link))
    await apps.create(AppInput("acme", tokens=TokenRules(jwks_url=site.url(PATH))))
    return Tokens(apps, version, jwks, 0.0)


async def opens(tokens: Tokens, token: str) -> bool:
    try:
        await tokens.verify(token)
    except Unauthenticated:
        return False
    return True


async def test_published_keys_verify_and_are_fetched_once_for_all(tokens: Tokens, site: Receiver) -> None:
    site.delay = 0.05
    many = [signed("RS256", sub=f"user-{n}") for n in range(20)]
    found = await asyncio.gather(*(tokens.verify(one) for one in many))
    assert [principal.user for principal in found] == [f"user-{n}" for n in range(20)]
    assert {principal.app for principal in found} == {"acme"}
    assert await opens(tokens, signed("ES256"))
    assert len(site.at(PATH)) == 1
    assert not await opens(tokens, signed("EdDSA", kid="RS256"))
    assert not await opens(tokens, signed("ES256", kid="RS256"))


async def test_a_key_that_is_not_there_yet_is_fetched_once_and_invented_ones_cost_nothing(
    tokens: Tokens, site: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await opens(tokens, signed("RS256"))
    site.then = document("RS256", "EdDSA")
    assert not await opens(tokens, signed("EdDSA")), "it was fetched just now"
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    assert await opens(tokens, signed("EdDSA"))
    assert len(site.at(PATH)) == 2
    monkeypatch.setattr(fetching, "PAUSE", 10.0)
    flood = [signed("RS256", kid=f"invented-{n}") for n in range(50)]
    assert not any(await asyncio.gather(*(opens(tokens, one) for one in flood)))
    assert len(site.at(PATH)) == 2


async def test_a_key_that_is_no_longer_published_verifies_no_more(
    tokens: Tokens, site: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed("RS256")
    assert await opens(tokens, token)
    site.then = document("ES256")
    monkeypatch.setattr(fetching, "FRESH", 0.0)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    await eventually(lambda: opens_not(tokens, token), "the remembered token is refused")
    assert await opens(tokens, signed("ES256"))


async def opens_not(tokens: Tokens, token: str) -> bool:
    return not await opens(tokens, token)


async def test_old_keys_go_on_while_the_issuer_is_away_but_not_for_ever(
    tokens: Tokens, jwks: Jwks, site: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await opens(tokens, signed("RS256"))
    monkeypatch.setattr(fetching, "FRESH", 0.0)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    site.then = answer(503)
    for n in range(3):
        assert await opens(tokens, signed("RS256", sub=str(n)))
    await eventually(lambda: len(site.at(PATH)) >= 2, "it was tried again")
    assert await opens(tokens, signed("RS256", sub="still"))
    monkeypatch.setattr(fetching, "STALE", 0.0)
    with pytest.raises(KeysUnavailable, match="503"):
        await jwks.keys(site.url(PATH), None)
    site.then = document("RS256")
    monkeypatch.setattr(fetching, "STALE", 60.0)
    assert await opens(tokens, signed("RS256", sub="back"))


async def hangs(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    await asyncio.sleep(60)


async def drips(writer: asyncio.StreamWriter) -> None:
    """Never silent for as long as a whole fetch may take."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n")
    for _ in range(90):
        writer.write(b" ")
        await asyncio.sleep(0.05)


BAD = {
    "HTTP 404": answer(404),
    "a redirect": answer(302, location="/elsewhere"),
    "no JSON": answer(200, b"<html>"),
    "another document": answer(200, b'{"issuer": "me"}'),
    "too big": document("RS256", padding=fetching.MAX_BYTES),
    "packed": answer(200, b"\x1f\x8b", content_encoding="gzip"),
    "no HTTP": b"what?\r\n\r\n",
    "nothing": b"",
    "too slow": hangs,
    "slowly on and on": drips,
}


@pytest.mark.parametrize("fault", list(BAD))
async def test_an_issuer_that_answers_wrongly_is_said_to_be_away_in_bounded_time(
    tokens: Tokens, site: Receiver, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    site.answers[PATH] = [BAD[fault]]
    began = time.monotonic()
    with pytest.raises(KeysUnavailable):
        await tokens.verify(signed("RS256"))
    assert time.monotonic() - began < 2
    with pytest.raises(KeysUnavailable):
        await tokens.verify(signed("RS256"))
    assert len(site.got) == 1, "it isn't asked again at once, nor where it points"
    hmac_token = jwt.encode({"app": "acme", "exp": time.time() + 60}, "k" * 40, algorithm="HS256")
    assert not await opens(tokens, hmac_token)
    assert len(site.got) == 1, "an HMAC is nobody else's"


async def test_a_token_is_good_for_the_leeway_beyond_its_end_and_no_longer(
    link: Link, jwks: Jwks, site: Receiver
) -> None:
    version = Version(link)
    apps = Apps(link, load({}), version, Revocations(link))
    await apps.create(AppInput("acme", tokens=TokenRules(jwks_url=site.url(PATH))))
    lenient = Tokens(apps, version, jwks, 30.0)
    ended = time.time() - 20
    assert (await lenient.verify(signed("RS256", exp=ended))).expires_at == pytest.approx(ended + 30)
    assert not await opens(lenient, signed("RS256", exp=time.time() - 31))
    assert not await opens(Tokens(apps, version, jwks, 0.0), signed("RS256", exp=ended))


async def test_an_issuer_that_is_not_there_is_said_to_be_away(jwks: Jwks, site: Receiver) -> None:
    url = site.url(PATH)
    await site.__aexit__(None, None, None)
    with pytest.raises(KeysUnavailable):
        await jwks.keys(url, None)
    await site.__aenter__()


async def test_what_a_header_points_to_is_never_fetched(tokens: Tokens, site: Receiver) -> None:
    evil = site.url("/evil.json")
    for header in ({"jku": evil}, {"x5u": evil}, {"kid": evil}, {"jwk": {"kty": "oct", "k": "AAAA"}}):
        token = jwt.encode({"app": "acme", "exp": time.time() + 60}, private("EdDSA"), "EdDSA", headers=header)
        assert not await opens(tokens, token)
    assert {one.path for one in site.got} == {PATH}


async def test_an_app_forgets_no_key_of_its_own_over_its_issuers(link: Link, site: Receiver, tokens: Tokens) -> None:
    """The issuer is away: tokens of the app's own keys don't wait for it."""
    site.then = answer(500)
    apps = Apps(link, load({}), Version(link), Revocations(link))
    key, _ = await apps.add_key("acme", SigningKeyInput(public_key=pem("EdDSA")))
    await eventually(lambda: opens(tokens, signed("EdDSA", kid=key.id)), "the key counts")
    assert site.got == []
