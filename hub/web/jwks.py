"""Keys that other issuers publish (JWKS, RFC 7517): fetched, remembered, and fetched anew when they rotate.

Keys are good for FRESH seconds, then fetched again behind the requests' backs; while that fails the old ones go on for
STALE. A token that names a key which isn't there has the keys fetched once, at most every PAUSE: a rotation is seen at
once, and invented key ids cost the issuer nothing.
"""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from hub.core.errors import KeysUnavailable
from hub.core.jwk import Key, parse_jwks
from hub.telemetry import logger

if TYPE_CHECKING:
    import httpx

FRESH: Final = 300.0
STALE: Final = 24 * 3600.0
PAUSE: Final = 10.0
TIMEOUT: Final = 3.0
"""Seconds for one fetch, all in all."""
MAX_BYTES: Final = 256 * 1024
MAX_URLS: Final = 1000
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}  # nothing that grows when unpacked


class _Source:
    """One URL's keys. Times are the loop's."""

    def __init__(self) -> None:
        self.keys: list[Key] | None = None
        self.texts: bytes = b""
        self.fetched_at = float("-inf")
        self.tried_at = float("-inf")
        self.fault = "it was not fetched yet"
        self.fetching: asyncio.Task[None] | None = None


class Jwks:
    """The keys of all URLs that apps name."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self.generation = 0
        """Rises whenever a URL has other keys than before: what was verified by the old ones has to be again."""

    async def close(self) -> None:
        tasks = [source.fetching for source in self._sources.values() if source.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def keys(self, url: str, key_id: str | None) -> list[Key]:
        """The keys that a URL publishes, fetched anew if one of this id isn't among them. Raises KeysUnavailable."""
        source = self._source(url)
        now = asyncio.get_running_loop().time()
        if (
            source.keys is None
            or now - source.fetched_at > STALE
            or (key_id is not None and all(key.id != key_id for key in source.keys))
        ):
            await self._fetched(url, source, now)
        else:
            self.refresh(url)
        if source.keys is None or now - source.fetched_at > STALE:
            raise KeysUnavailable(f"The keys of the tokens' issuer can't be fetched: {source.fault}")
        return source.keys

    def refresh(self, url: str) -> None:
        """Have the keys fetched behind the requests' backs, if they are old."""
        source = self._source(url)
        now = asyncio.get_running_loop().time()
        if now - source.fetched_at > FRESH and self._may_try(source, now):
            self._begin(url, source, now)

    def _source(self, url: str) -> _Source:
        source = self._sources.setdefault(url, _Source())
        self._sources.move_to_end(url)
        while len(self._sources) > MAX_URLS:
            _, oldest = self._sources.popitem(last=False)
            if oldest.fetching is not None:
                oldest.fetching.cancel()
        return source

    async def _fetched(self, url: str, source: _Source, now: float) -> None:
        """Wait for a fetch, unless the last one was just now."""
        if source.fetching is None and self._may_try(source, now):
            self._begin(url, source, now)
        if source.fetching is not None:
            await asyncio.wait([source.fetching])

    @staticmethod
    def _may_try(source: _Source, now: float) -> bool:
        return source.fetching is None and now - source.tried_at >= PAUSE

    def _begin(self, url: str, source: _Source, now: float) -> None:
        source.tried_at = now
        source.fetching = asyncio.create_task(self._fetch(url, source, now), name="JWKS")

    async def _fetch(self, url: str, source: _Source, now: float) -> None:
        import httpx  # only here: it and its TLS take long to make, and most deployments name no URL

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=True)
        try:
            async with asyncio.timeout(TIMEOUT):
                body = await self._read(self._client, url)
            keys = parse_jwks(body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as exc:
            source.fault = str(exc) or f"no answer within {TIMEOUT:.0f} s"
            logger().warning("jwks_not_fetched", url=url.partition("?")[0], reason=source.fault)
        else:
            if body != source.texts:
                self.generation += 1
            source.keys, source.texts, source.fetched_at = keys, body, now
        finally:
            source.fetching = None

    async def _read(self, client: "httpx.AsyncClient", url: str) -> bytes:
        async with client.stream("GET", url, headers=_HEADERS) as response:
            if response.status_code != 200:
                raise ValueError(f"HTTP {response.status_code}")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"it has over {MAX_BYTES} bytes")
            return body
