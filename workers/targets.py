"""What a worker needs of an endpoint to send to it: read once per version, its secret opened."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from hub.core import cloudevents
from hub.core.cloudevents import Format
from hub.core.endpoint import Config
from hub.core.errors import NotConfigured
from hub.core.expression import Expression, ExpressionFailed
from hub.core.handshake import introduction
from hub.core.signing import Key, key_of, sign
from hub.settings import Settings
from hub.store.queues import Queues
from hub.store.secrets import Secrets
from workers.sender import Answer

_CACHED: Final = 10_000
_PLAIN: Final = {"content-type": "application/json"}


class Target(NamedTuple):
    """Where and how attempts go. `timeout` is in seconds.

    `keys` are the present one and those that still sign beside it, each with its end in ms; none where the present
    secret can't be opened. One that isn't `agreed` has to agree first, and gets nothing.
    """

    url: str
    headers: dict[str, str]
    keys: tuple[tuple[Key, float], ...]
    schedule: tuple[float, ...]
    timeout: float
    transform: Expression | None = None
    format: Format = "standard"
    agreed: bool = True
    app: str = ""
    version: str = ""

    def prepared(self, message_id: str, timestamp: int, event: bytes) -> tuple[dict[str, str], bytes] | Answer:
        """The headers and the body of one attempt at an event, or why there can be none."""
        if not self.keys:
            return Answer(0, error="secret")
        try:
            made = None if self.transform is None else self.transform.transform(msgspec.json.decode(event))
        except ExpressionFailed as exc:
            return Answer(0, error="transform", body=str(exc))
        if self.format == "cloudevents-binary":
            shape, body = cloudevents.binary(event, made)
        elif self.format == "cloudevents-structured":
            shape, body = {"content-type": cloudevents.STRUCTURED}, cloudevents.structured(event, made)
        else:
            shape, body = _PLAIN, event if made is None else made
        return self._signed(shape, message_id, timestamp, body), body

    def _signed(self, shape: dict[str, str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of one attempt (Standard Webhooks 1.0, "Webhook headers")."""
        now_ms = timestamp * 1000
        return {
            **self.headers,
            **shape,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign([key for key, until in self.keys if until > now_ms], message_id, timestamp, body),
        }


class Targets:
    """A bounded cache of targets by endpoint and version."""

    def __init__(self, queues: Queues, settings: Settings) -> None:
        self._queues = queues
        self._settings = settings
        self._secrets = Secrets(settings.secret_key, settings.secret_key_previous)
        self._known: OrderedDict[str, tuple[str, Target]] = OrderedDict()

    async def get(self, partition: int, wanted: Sequence[tuple[str, str]]) -> list[Target | None]:
        """The targets of endpoints, each at least as new as the version given; None for one that was deleted."""
        found: dict[str, Target | None] = {}
        missing: list[str] = []
        for endpoint_id, version in wanted:
            read, target = self._known.get(endpoint_id, ("", None))
            if read == version:
                self._known.move_to_end(endpoint_id)
                found[endpoint_id] = target
            else:
                missing.append(endpoint_id)
        if missing:
            learned = await asyncio.gather(*(self._learn(partition, endpoint_id) for endpoint_id in missing))
            found.update(zip(missing, learned, strict=True))
        return [found[endpoint_id] for endpoint_id, _ in wanted]

    async def _learn(self, partition: int, endpoint_id: str) -> Target | None:
        found = await self._queues.config(partition, endpoint_id)
        self._known.pop(endpoint_id, None)
        if found is None:
            return None
        read, config, permit = found
        target = Target(
            config.url,
            config.headers if permit is None else {**config.headers, **introduction(permit)},
            self._keys(config),
            self._settings.retry_schedule if config.retry is None else config.retry,
            self._settings.webhook_timeout if config.timeout is None else config.timeout,
            None if config.transform is None else Expression(config.transform, "transform"),
            config.format,
            not config.handshake or permit is not None,
            config.app,
            read,
        )
        self._known[endpoint_id] = (read, target)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return target

    def _keys(self, config: Config) -> tuple[tuple[Key, float], ...]:
        try:
            keys = [(key_of(self._secrets.open(config.id, config.secret)), math.inf)]
            return (*keys, *((key_of(self._secrets.open(config.id, one.secret)), one.until) for one in config.retired))
        except NotConfigured:
            return ()
