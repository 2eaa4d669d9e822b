"""Handshakes: which targets are to be asked, and what they answered (see core/handshake.py).

What is still to be asked stands in the endpoint's delivery partition, so it outlasts every process. Whoever takes one
keeps it from others for as long as the answer may take; one that was asked by two counts once.
"""

import hmac
from typing import Final, NamedTuple

import msgspec

from hub.core.endpoint import Config
from hub.core.errors import NotFound
from hub.core.handshake import Granted, Refused, window
from hub.store import keys
from hub.store.connect import Link
from hub.store.endpoints import ring
from hub.store.records import is_endpoint_id
from hub.store.scripts import script
from hub.store.wire import Arg

LONGEST_MS: Final = 10_000
"""How long a target may take to answer at most; less where the endpoint's timeout is shorter."""
_MARGIN_MS: Final = 2000
_TAKEN_MS: Final = 2000


class Ask(NamedTuple):
    """A target that is to be asked. `nonce` stands for what it is asked, `tries` is how often it was."""

    partition: int
    config: Config
    nonce: str
    tries: int
    timeout: float


class Handshakes:
    """The handshakes of one deployment."""

    def __init__(self, link: Link, partitions: int, default_timeout: float) -> None:
        self._link = link
        self._partitions = partitions
        self._default_ms = round(default_timeout * 1000)

    async def waiting(self) -> list[int]:
        """The delivery partitions where somebody is to be asked, now or later."""
        counts = await self._link.pipeline([("ZCARD", keys.asks(p)) for p in range(self._partitions)])
        return [partition for partition, count in enumerate(counts) if count]

    async def take(self, partition: int) -> Ask | None:
        """One that is due, kept from others until its answer is late; None where there is none."""
        asks = keys.asks(partition)
        while (member := await self._link.run(script("job_take"), [asks], [_TAKEN_MS])) is not None:
            endpoint_id = member.decode()
            names = [asks, keys.endpoint(partition, endpoint_id)]
            args: list[Arg] = [endpoint_id, self._default_ms, LONGEST_MS, _MARGIN_MS]
            found = await self._link.run(script("handshake_begin"), names, args)
            if found:
                config, nonce, tries, timeout = found
                return Ask(partition, msgspec.json.decode(config, type=Config), nonce.decode(), tries, timeout / 1000)
        return None

    async def granted(self, ask: Ask, origin: str, grant: Granted) -> bool:
        """The target agreed: from now on it is sent what it is owed. False where the endpoint has changed since."""
        return await self._end(ask.partition, ask.config, ask.nonce, origin, grant)

    async def refused(self, ask: Ask, refusal: Refused, again: float | None) -> bool:
        """It refused; `again` is in how many seconds it is to be asked anew, None for never."""
        due = "" if again is None else round(again * 1000)
        return await self._end(ask.partition, ask.config, ask.nonce, "", None, refusal.reason, due)

    async def called_back(self, endpoint_id: str, nonce: str, origin: str, grant: Granted) -> None:
        """The target agreed by the callback that it was given, which counts once. Raises NotFound."""
        if is_endpoint_id(endpoint_id):
            partition = keys.delivery_partition(endpoint_id, self._partitions)
            config, known = await self._link.call("HMGET", keys.endpoint(partition, endpoint_id), "config", "nonce")
            if config is not None and known is not None and hmac.compare_digest(known, nonce.encode()):
                decoded = msgspec.json.decode(config, type=Config)
                if await self._end(partition, decoded, nonce, origin, grant):
                    return
        raise NotFound("No handshake waits for this callback: it was called before, or the endpoint has changed")

    async def _end(
        self, partition: int, config: Config, nonce: str, origin: str, grant: Granted | None, why: str = "",
        due: int | str = "",
    ) -> bool:  # fmt: skip
        bound: tuple[Arg, ...] = ("", "", "")
        if grant is not None and grant.rate is not None:
            limit = window(grant.rate)
            bound = (grant.rate, limit.limit, limit.period * 1000)
        names = [*keys.of_endpoint(partition, config.id), keys.asks(partition), keys.outbox(partition)]
        args: list[Arg] = [config.id, config.app, nonce, origin, *bound, why, due]
        held = bool(await self._link.run(script("handshake_end"), names, args))
        if held and grant is not None:
            await ring(self._link, partition)
        return held
