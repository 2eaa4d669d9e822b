"""What became of requests with an Idempotency-Key: who runs one now, and the answers that are given again.

Answers may hold secrets, so they are sealed (store/secrets.py). A process that dies while it runs a request holds it
for HOLD seconds more at most; then a retry runs it anew, with the same seed, so it makes what the first one made.
"""

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from hub.core.errors import HubError, IdempotencyKeyReused, RequestInProgress
from hub.core.limits import seconds
from hub.core.seed import Seed
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.secrets import Secrets
from hub.store.wire import Arg, Reply, StoreError

KEEP: Final = 86400
"""Seconds that a request and its answer are kept."""
HOLD: Final = 10.0
"""Seconds that a request is its process's; renewed while it runs."""


class Claim(msgspec.Struct, frozen=True):
    """A request under its Idempotency-Key. `scope` is unique for the key's owner, `fingerprint` for what was asked."""

    app: str
    scope: str
    fingerprint: str


class Stored(msgspec.Struct, frozen=True):
    """An answer as it is given again."""

    status: int
    headers: dict[str, str]
    body: bytes


class Run:
    """A request that this process runs. Without an `answer` it can be tried again."""

    def __init__(self, seed: Seed) -> None:
        self.seed = seed
        self.answer: Stored | None = None


Begun: TypeAlias = Run | Stored


class Requests:
    """The requests of one deployment."""

    def __init__(self, link: Link, secret_key: bytes | None, partitions: int, previous: tuple[bytes, ...] = ()) -> None:
        self._link = link
        self._secrets = Secrets(secret_key, previous)
        self._root = secret_key or b""
        self._partitions = partitions

    @contextlib.asynccontextmanager
    async def begin(self, claim: Claim) -> AsyncGenerator[Begun]:
        """Run a request, for as long as the context lasts, or get the answer that it was given.

        Raises IdempotencyKeyReused, RequestInProgress, NotConfigured, StoreUnavailable.
        """
        self._secrets.check()
        name, nonce = self.key(claim), secrets.token_hex(8)
        kind, *more = await self._ask(claim, name, nonce)
        if kind == b"reused":
            raise IdempotencyKeyReused.now()
        if kind == b"busy":
            raise RequestInProgress.until(seconds(more[0]))
        if kind == b"done":
            yield msgspec.json.decode(self._secrets.open(name, more[0].decode()), type=Stored)
            return
        root = hmac.digest(self._root, f"{claim.app}\0{claim.scope}\0{more[0]}".encode(), sha256)
        run = Run(Seed(root, more[0]))
        holding = asyncio.create_task(self._hold(claim, name, nonce), name="request")
        try:
            yield run
        finally:
            holding.cancel()
            await self._end(name, nonce, run.answer)

    async def claim(self, claim: Claim, keep: int) -> bool:
        """Whether a publish is new; kept for `keep` s. Raises IdempotencyKeyReused."""
        return bool(await self._link.run(script("request_claim"), [self.key(claim)], [claim.fingerprint, keep]))

    def key(self, claim: Claim) -> str:
        digest = sha256(claim.scope.encode()).hexdigest()
        return keys.request(keys.partition_of(claim.app, digest, self._partitions), claim.app, digest)

    async def _ask(self, claim: Claim, name: str, nonce: str) -> Reply:
        args: list[Arg] = [claim.fingerprint, nonce, round(HOLD * 1000), KEEP]
        return await self._link.run(script("request_begin"), [name], args)

    async def _hold(self, claim: Claim, name: str, nonce: str) -> None:
        while True:
            await asyncio.sleep(HOLD / 3)
            with contextlib.suppress(HubError):  # the next time will do
                await self._ask(claim, name, nonce)

    async def _end(self, name: str, nonce: str, answer: Stored | None) -> None:
        sealed = "" if answer is None else self._secrets.seal(name, msgspec.json.encode(answer).decode())
        # What was done is done: the client gets its answer, and a retry finds the same by the seed.
        with contextlib.suppress(HubError, StoreError):
            await self._link.run(script("request_end"), [name], [nonce, sealed, KEEP])
