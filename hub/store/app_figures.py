"""How an app fares, in numbers: read in one step from what is kept of it, so it costs the same whatever it holds."""

import msgspec

from hub.core.event import now_text
from hub.store import census, keys, quota, traffic
from hub.store.connect import Link
from hub.store.figures import Backlog
from hub.store.traffic import Rate, Traffic


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the app's endpoints stood at `counted_at`: how many in each state (`enabled`, or why not: `manual`,
    `failing`, `backlog`, `gone`) and with each state of the breaker, and what they are owed.

    `oldest_owed_at` is the time of the oldest event that wasn't sent yet, `next_retry_at` when the first retry is due;
    both of enabled endpoints whose breaker is closed, None where there is none.
    """

    counted_at: str
    states: dict[str, int]
    breakers: dict[str, int]
    backlog: Backlog
    oldest_owed_at: str | None
    next_retry_at: str | None


class AppStats(msgspec.Struct, frozen=True, kw_only=True):
    """An app's figures. `connections` are those of all web processes, `topics` those where a user is.

    `traffic` goes by window: `total` (since an app that was silent for 8 days spoke again), `1h`, `24h`, `7d`. It lags
    by up to 2 s, `connections` too. `standing` is counted every 5 s or more, None before the first time.
    """

    app: str
    at: str
    connections: int
    topics: int
    endpoints: int
    rate: Rate
    traffic: dict[str, Traffic]
    standing: Standing | None


class AppFigures:
    """The figures of a deployment's apps."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def read(self, app: str) -> AppStats:
        counted, living, passed, topics, endpoints, clock = await self._link.pipeline(
            [
                ("HMGET", keys.CENSUS, app, "@at"),
                ("HGETALL", keys.quota(app)),
                ("HGETALL", keys.traffic(app)),
                ("ZCARD", keys.live_topics(app)),
                ("ZCARD", keys.app_endpoints(app)),
                ("TIME",),
            ]
        )
        now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
        windows, rate = traffic.parse(passed, now_ms)
        return AppStats(
            app=app,
            at=now_text(now_ms),
            connections=quota.living(living, now_ms),
            topics=topics,
            endpoints=endpoints,
            rate=rate,
            traffic=windows,
            standing=_standing(*census.parse(counted)),
        )


def _standing(count: census.Count, at: int) -> Standing | None:
    if not at:
        return None
    return Standing(
        counted_at=now_text(at),
        states=count.endpoints,
        breakers=count.breakers,
        backlog=Backlog(count.owed, count.fresh, count.retries, count.leased, count.waiting),
        oldest_owed_at=now_text(count.oldest) if count.oldest else None,
        next_retry_at=now_text(count.due) if count.due else None,
    )
