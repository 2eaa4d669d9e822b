"""Endpoints as their owners manage them: create, read, list, update, delete.

The truth of an endpoint is a hash in its delivery partition; dispatch has an index of all of them and a stream of
changes. The truth is written first, so whoever learns of an endpoint from the index finds it.
"""

import functools
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET

from hub.core import breaker
from hub.core import endpoint as endpoints
from hub.core.cloudevents import Format
from hub.core.endpoint import Config, EndpointInput, EndpointPatch, Pairs, RateLimit
from hub.core.errors import Conflict, HubError, NotConfigured, NotFound
from hub.core.event import now_text
from hub.core.matching import Subscription
from hub.core.rotation import Rotation, chosen, retire
from hub.core.seed import Seed
from hub.core.signing import Signature, shown
from hub.core.target_url import UrlRules
from hub.settings import Settings
from hub.store import keys
from hub.store.connect import Link
from hub.store.log import Log
from hub.store.paging import Slice, Window, page
from hub.store.permission import FIELDS, Permission, parse
from hub.store.scripts import script
from hub.store.secrets import Secrets
from hub.store.wire import Reply

_TRIES: Final = 5
"""Times that a change is applied anew because another one came between."""
_UNTOLD: Final = 300
"""Seconds that a new endpoint lives of which dispatch wasn't told: whoever made it got an error."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner sees it. `retry` is the schedule in force, `timeout` the seconds in force.

    `disabled_reason` is `manual`, `gone` (it answered 410), `backlog` (it was owed more than its limit allows),
    `handshake` (its target hasn't agreed yet, see `permission`) or `failing` (nothing but failures for days); None
    while enabled. `failing_since` is the first failure since it last took a delivery; `breaker` whether it is left
    alone for a while.
    """

    id: str
    url: str
    description: str
    types: tuple[str, ...] | None
    topics: tuple[str, ...] | None
    filter: str | None
    transform: str | None
    format: Format
    signature: Signature
    headers: Pairs
    ordered: bool
    max_in_flight: int
    max_backlog: int
    rate_limit: RateLimit | None
    timeout: float
    retry: dict[str, tuple[float, ...]]
    metadata: Pairs
    handshake: bool
    permission: Permission | None
    enabled: bool
    disabled_reason: str | None
    failing_since: str | None
    breaker: breaker.State
    created_at: str
    updated_at: str


class PreviousSecret(msgspec.Struct, frozen=True):
    """A secret that was replaced and still signs."""

    secret: str
    signature: Signature
    expires_at: str


class SigningSecrets(msgspec.Struct, frozen=True):
    """What a receiver verifies with, `whsec_` or `whpk_`: the present one, and those that still sign beside it."""

    secret: str
    signature: Signature
    previous: list[PreviousSecret]


class _Stored(NamedTuple):
    config: Config
    version: str
    enabled: bool
    reason: str | None
    failing: int | None = None
    open: int | None = None
    permission: Permission | None = None


class Endpoints:
    """The endpoints of one deployment."""

    def __init__(self, link: Link, settings: Settings, log: Log) -> None:
        self._link = link
        self._log = log
        self._settings = settings
        self._partitions = settings.delivery_partitions
        self._rules = UrlRules(settings.webhook_allow_http, settings.webhook_allow_networks)
        self._secrets = Secrets(settings.secret_key, settings.secret_key_previous)

    async def create(self, app: str, given: EndpointInput, seed: Seed | None = None) -> tuple[Endpoint, str]:
        """Make an endpoint; returns it and what its receiver verifies with. Raises Invalid, NotConfigured.

        From a seed that is kept it is made once; whoever comes again completes what broke off, and gets it as it is.
        """
        self._check_handshake(given.handshake)
        seed = seed or Seed()
        now_ms = seed.time(time.time_ns() // 1_000_000)
        endpoint_id = endpoints.new_id(now_ms, seed)
        secret = chosen(given.secret, given.signature, seed=seed)
        since = {p: (await self._log.observe(p))[1] for p in range(self._log.partitions)}
        config = endpoints.create(
            given,
            id=endpoint_id,
            app=app,
            sealed=self._secrets.seal(endpoint_id, secret),
            since=since,
            now_ms=now_ms,
            rules=self._rules,
        )
        if not await self._put(config, "0", "1" if given.enabled else "0"):
            stored = await self._read(app, endpoint_id)
            await self._announce(stored.config, is_new=True)
            return self._view(stored), shown(self._secrets.open(endpoint_id, stored.config.secret))
        return self._view(await self._read(app, endpoint_id)), shown(secret)

    async def get(self, app: str, endpoint_id: str) -> Endpoint:
        return self._view(await self._read(app, endpoint_id))

    async def secrets(self, app: str, endpoint_id: str) -> SigningSecrets:
        """What the endpoint's receiver verifies with. Raises NotFound, NotConfigured."""
        return self._shown((await self._read(app, endpoint_id)).config)

    async def rotate(self, app: str, endpoint_id: str, given: Rotation) -> SigningSecrets:
        """Sign with another secret from the next claim on. Raises Invalid, NotFound, Conflict, NotConfigured."""

        def replaced(config: Config, now_ms: int) -> Config:
            retired = retire(config.secret, config.signature, config.retired, given.grace, now_ms)
            signature = given.signature or config.signature
            sealed = self._secrets.seal(endpoint_id, chosen(given.secret, signature))
            return msgspec.structs.replace(
                config, secret=sealed, signature=signature, retired=retired, updated_at=now_ms
            )

        return self._shown(await self._change(app, endpoint_id, replaced))

    async def reseal(self, app: str, endpoint_id: str) -> bool:
        """Seal its secrets under the present key; False where they are. Raises NotFound, Conflict, NotConfigured."""
        before = (await self._read(app, endpoint_id)).config
        if self._resealed(before) == before:
            return False
        await self._change(app, endpoint_id, lambda config, _: self._resealed(config))
        return True

    def _resealed(self, config: Config) -> Config:
        seal = functools.partial(self._secrets.reseal, config.id)
        retired = tuple(msgspec.structs.replace(one, secret=seal(one.secret)) for one in config.retired)
        return msgspec.structs.replace(config, secret=seal(config.secret), retired=retired)

    async def page(self, app: str, window: Window, keep: Callable[[Endpoint], bool] | None = None) -> Slice[Endpoint]:
        """An app's endpoints by age; of those looked at the ones to `keep`."""

        async def load(ids: list[str]) -> list[Endpoint | None]:
            stored = await self._load(ids)
            for one in (id for id, found in zip(ids, stored, strict=True) if found is None):
                await self._tell(app, one, b"")  # a creation or a deletion that broke off left it in the index
            return [None if one is None else self._view(one) for one in stored]

        return await page(self._link, keys.app_endpoints(app), load, window, keep)

    async def ids(self, app: str) -> list[str]:
        """The ids of all of an app's endpoints."""
        return [raw.decode() for raw in await self._link.call("ZRANGE", keys.app_endpoints(app), 0, -1)]

    async def update(
        self, app: str, endpoint_id: str, given: EndpointPatch, check: Callable[[Endpoint], None] | None = None
    ) -> Endpoint:
        """Change an endpoint. Raises Invalid, NotFound, and Conflict when others keep changing it.

        `check` sees the state that is changed, and may raise.
        """
        self._check_handshake(given.handshake is True)
        enabled = "" if given.enabled is UNSET else "1" if given.enabled else "0"

        def changed(config: Config, now_ms: int) -> Config:
            return endpoints.change(config, given, now_ms=now_ms, rules=self._rules)

        await self._change(app, endpoint_id, changed, enabled, check)
        return await self.get(app, endpoint_id)

    async def delete(self, app: str, endpoint_id: str, check: Callable[[Endpoint], None] | None = None) -> None:
        """Delete an endpoint: nothing more is owed to it from now on, and what was queued is cancelled.

        `check` sees its state just before, and may raise.
        """
        partition = self._partition(endpoint_id)
        (stored,) = await self._load([endpoint_id])
        if stored is not None and stored.config.app != app:
            raise _missing(endpoint_id)
        if stored is not None and check is not None:
            check(self._view(stored))
        names = [keys.sched(partition), keys.endpoint(partition, endpoint_id)]
        existed = stored is not None and await self._link.run(script("endpoint_delete"), names, [endpoint_id])
        # Also where it was gone already: the index may have been left behind by a deletion that broke off.
        known = await self._link.call("ZSCORE", keys.app_endpoints(app), endpoint_id)
        if not existed and known is None:
            raise _missing(endpoint_id)
        await self._tell(app, endpoint_id, b"")
        await ring(self._link, partition)

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _change(
        self,
        app: str,
        endpoint_id: str,
        change: Callable[[Config, int], Config],
        enabled: str = "",
        check: Callable[[Endpoint], None] | None = None,
    ) -> Config:
        """Apply a change to the configuration as it stands now, in ms; returns the one that was written."""
        for _ in range(_TRIES):
            stored = await self._read(app, endpoint_id)
            if check is not None:
                check(self._view(stored))
            config = change(stored.config, time.time_ns() // 1_000_000)
            is_other = config.url != stored.config.url
            if await self._put(config, stored.version, enabled, enabled == "1" or is_other, is_other):
                return config
        raise Conflict("The endpoint was changed by others at the same time; try again")

    def _shown(self, config: Config) -> SigningSecrets:
        now_ms = time.time_ns() // 1_000_000
        previous = [
            PreviousSecret(shown(self._secrets.open(config.id, one.secret)), one.signature, now_text(one.until))
            for one in config.retired
            if one.until > now_ms
        ]
        return SigningSecrets(shown(self._secrets.open(config.id, config.secret)), config.signature, previous)

    async def _put(
        self, config: Config, version: str, enabled: str, is_new_start: bool = False, is_other: bool = False
    ) -> bool:
        """Write the truth, then the index. False when the version is another by now; raises NotFound.

        With a new start, what it failed at before counts no more; nor, if it is another target, what that agreed to.
        """
        partition = self._partition(config.id)
        timeout = "" if config.timeout is None else str(round(config.timeout * 1000))
        encoded = msgspec.json.encode(config)
        rate, anew = config.rate_limit, "1" if is_new_start else ""
        rules = ("1" if config.ordered else "", *(("", "") if rate is None else (rate.limit, rate.period * 1000)))
        asked = ("1" if config.handshake else "", secrets.token_urlsafe(32), "1" if is_other else "")
        rest = (*rules, anew, _UNTOLD, *asked, config.max_backlog)
        written = await self._link.run(
            script("endpoint_put"),
            [keys.sched(partition), keys.endpoint(partition, config.id), keys.asks(partition)],
            [config.id, version, encoded, config.max_in_flight, timeout, enabled, *rest],
        )
        if written == 0:
            raise _missing(config.id)
        if written < 0:
            return False
        await self._announce(config, is_new=version == "0")
        if enabled == "1":
            await ring(self._link, partition)
        return True

    async def _announce(self, config: Config, is_new: bool) -> None:
        subscription = Subscription(config.id, config.app, config.types, config.topics, config.since, config.filter)
        await self._tell(config.app, config.id, msgspec.json.encode(subscription))
        if is_new:
            await self._link.call("PERSIST", keys.endpoint(self._partition(config.id), config.id))

    async def _tell(self, app: str, endpoint_id: str, subscription: bytes) -> None:
        names = [keys.ENDPOINTS, keys.ENDPOINT_CHANGES, keys.app_endpoints(app)]
        await self._link.run(script("endpoint_index"), names, [endpoint_id, subscription])

    async def _read(self, app: str, endpoint_id: str) -> _Stored:
        (stored,) = await self._load([endpoint_id])
        if stored is None or stored.config.app != app:
            raise _missing(endpoint_id)
        return stored

    async def _load(self, ids: list[str]) -> list[_Stored | None]:
        if not ids:
            return []
        fields = ("config", "version", "state", "why", "failing", "open", *FIELDS)
        replies = await self._link.pipeline(
            [("HMGET", keys.endpoint(self._partition(one), one), *fields) for one in ids]
        )
        return [_stored(reply) for reply in replies]

    def _check_handshake(self, wanted: bool) -> None:
        if wanted and self._settings.public_url is None:
            raise NotConfigured("HUB_PUBLIC_URL is not set, so a handshake has no origin to name; set it")

    def _partition(self, endpoint_id: str) -> int:
        return keys.delivery_partition(endpoint_id, self._partitions)

    def _view(self, stored: _Stored) -> Endpoint:
        config = stored.config
        return Endpoint(
            id=config.id,
            url=config.url,
            description=config.description,
            types=config.types,
            topics=config.topics,
            filter=config.filter,
            transform=config.transform,
            format=config.format,
            signature=config.signature,
            headers=config.headers,
            ordered=config.ordered,
            max_in_flight=config.max_in_flight,
            max_backlog=config.max_backlog,
            rate_limit=config.rate_limit,
            timeout=self._settings.webhook_timeout if config.timeout is None else config.timeout,
            retry={"schedule": self._settings.retry_schedule if config.retry is None else config.retry},
            metadata=config.metadata,
            handshake=config.handshake,
            permission=stored.permission,
            enabled=stored.enabled,
            disabled_reason=stored.reason,
            failing_since=None if stored.failing is None else now_text(stored.failing),
            breaker=breaker.state(stored.open, time.time_ns() // 1_000_000),
            created_at=now_text(config.created_at),
            updated_at=now_text(config.updated_at),
        )


async def ring(link: Link, partition: int) -> None:
    """Wake one idle worker for a delivery partition. A bell that can't be rung is no loss: workers look anyway."""
    bell = keys.doorbell(partition)
    try:
        await link.pipeline([("RPUSH", bell, ""), ("LTRIM", bell, 0, 0), ("EXPIRE", bell, 5)])
    except HubError:
        return


def _stored(reply: Reply) -> _Stored | None:
    raw, version, state, why, failing, until, *asked = reply
    if raw is None:
        return None
    enabled = state == b"on"
    reason = None if enabled else why.decode()
    config = msgspec.json.decode(raw, type=Config)
    since, open_until = (None if one is None else int(one) for one in (failing, until))
    permission = parse(asked) if config.handshake else None
    return _Stored(config, version.decode(), enabled, reason, since, open_until, permission)


def _missing(endpoint_id: str) -> NotFound:
    return NotFound(f"No endpoint {endpoint_id[:40]!r}")
