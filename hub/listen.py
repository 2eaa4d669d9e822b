"""`hub listen`: live events, sent to a local URL as the webhooks that they would be elsewhere.

It is for developing a receiver on a machine that no worker reaches: signed as by an endpoint, one after another, in the
order of the log.
"""

import time
from typing import Final

import httpx
import msgspec

from hub import VERSION
from hub.client import Target, Usage
from hub.core.errors import Invalid
from hub.core.signing import key_of, new_secret, shown, sign
from hub.tail import Feed, note

TIMEOUT: Final = 30.0
TRIES: Final = 5
PAUSE: Final = 0.5
"""Seconds before a receiver that can't be reached is tried again: it is being started, most likely."""


class _Named(msgspec.Struct):
    id: str
    type: str


class Forwarder:
    """Sends events to one URL and says of each what came of it."""

    def __init__(self, url: str, secret: str | None) -> None:
        """Raises Usage for a URL or a secret that can't be used."""
        if not url.startswith(("http://", "https://")):
            raise Usage(f"--forward-to is {url!r}; allowed: http://… or https://…")
        self._url = url
        self._secret = new_secret() if secret is None else secret
        try:
            self._key = key_of(self._secret)
        except Invalid as exc:
            raise Usage(f"--secret: {exc.details[0].message}") from None
        self._http = httpx.Client(timeout=TIMEOUT, headers={"user-agent": f"Hub/{VERSION}"})

    def run(self, hub: Target, topics: list[str], types: list[str], after: str | None) -> None:
        """Forward until the process is stopped. Raises Failure when the hub refuses, or never was there."""
        note(f"events go to {self._url}, signed with {shown(self._secret)}")
        with self._http:
            Feed(hub, topics, types, after, self._take).follow()

    def _take(self, cursor: str | None, event: bytes) -> None:
        if cursor is None:
            return  # ephemeral: no webhook carries it
        named = msgspec.json.decode(event, type=_Named)
        began = time.monotonic()
        outcome = self._send(named.id, event)
        print(named.type, named.id, outcome, f"{(time.monotonic() - began) * 1000:.0f} ms", flush=True)

    def _send(self, event_id: str, event: bytes) -> str:
        for tries in range(1, TRIES + 1):
            timestamp = int(time.time())
            headers = {
                "content-type": "application/json",
                "webhook-id": event_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": sign([self._key], event_id, timestamp, event),
            }
            try:
                return str(self._http.post(self._url, content=event, headers=headers).status_code)
            except httpx.ConnectError as exc:
                if tries == TRIES:
                    return f"can't be reached ({exc})"
                time.sleep(PAUSE)
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                return f"failed ({str(exc) or type(exc).__name__})"
        raise AssertionError
