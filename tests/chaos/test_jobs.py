"""Jobs whose workers are killed: what is to be replayed is, each event once, whoever does it."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from hub.core.span import Span
from hub.store.delivery_scan import Filter
from hub.store.figures import Figures
from hub.store.jobs import Job, Kind
from hub.store.paging import Edge, Window
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually
from tests.support.webhook_site import ground_of, start
from tests.support.webhooks import APP, Ground

EVENTS = 1300
ALL = Span(datetime.fromtimestamp(0, UTC))


@pytest.mark.parametrize("kind", ["replay", pytest.param("recover", marks=pytest.mark.slow)])
async def test_a_job_whose_workers_are_killed_in_the_middle_owes_everything_once(kind: Kind) -> None:
    with start(HUB_RETRY_SCHEDULE="0.01") as hub:
        async with ground_of(hub) as ground, Receiver() as receiver:
            ep = await ground.endpoint(url=receiver.url(), max_in_flight=50, timeout=1)
            if kind == "recover":
                receiver.then = answer(500)
            entries = [entry for _ in range(2) for entry in await ground.append(EVENTS // 2)]
            await eventually(lambda: _ended(ground, ep, EVENTS), "what was published has ended", 60)
            receiver.then, receiver.got = answer(200), []
            job = await ground.jobs.start(APP, ep, kind, ALL)
            for share in (0.1, 0.5):

                async def is_in_the_middle(share: float = share) -> bool:
                    return (await _job(ground, job)).owed >= share * EVENTS

                await eventually(is_in_the_middle, "the job is in the middle", 30)
                hub.workers[-1].kill()
                hub.start_worker()
            await eventually(lambda: _is_done(ground, job), "the job is done", 60)
            assert (await _job(ground, job)).owed == EVENTS
            await eventually(lambda: _ended(ground, ep, 2 * EVENTS), "everything has arrived", 60)
            listed = await _listed(ground, ep)
            assert Counter(listed) == Counter({None: EVENTS, **({job.id: EVENTS} if kind == "replay" else {})})
            assert {got.headers["webhook-id"] for got in receiver.got} == {entry.id for entry in entries}
            # Twice came only what was under way when a worker died.
            assert len(receiver.got) <= EVENTS + 2 * 50


async def _job(ground: Ground, job: Job) -> Job:
    return await ground.jobs.get(APP, job.id)


async def _is_done(ground: Ground, job: Job) -> bool:
    return (await _job(ground, job)).status == "completed"


async def _ended(ground: Ground, ep: str, count: int) -> bool:
    """Whether so many deliveries have ended, and nothing is owed."""
    stats = await Figures(ground.link, ground.settings, ground.endpoints).read(APP, ep)
    hour = stats.windows["1h"]
    return stats.backlog.total == 0 and hour.succeeded + hour.exhausted >= count


async def _listed(ground: Ground, ep: str) -> list[str | None]:
    origins: list[str | None] = []
    cursor: Edge | None = None
    while True:
        page, cursor, _ = await ground.deliveries.page(APP, Filter(endpoint=ep), Window(500, cursor, descending=True))
        origins += [one.origin for one in page]
        if cursor is None:
            return origins
