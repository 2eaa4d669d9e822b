"""Who dispatches a log partition, how far it has come, and what operational events become."""

import pytest

from hub.core.cursor import START, format_id
from hub.store import keys
from hub.store.connect import Link
from hub.store.dispatching import Dispatching
from hub.store.outbox import TOPIC, Outbox
from tests.support.webhooks import APP, Ground


@pytest.fixture
def place(link: Link) -> Dispatching:
    return Dispatching(link, 0, "mine")


async def test_a_lease_has_one_holder_who_renews_and_gives_it_back(place: Dispatching, link: Link) -> None:
    other = Dispatching(link, 0, "theirs")
    assert await place.hold()
    assert await place.hold()
    assert not await other.hold()
    await other.release()  # not theirs to give
    assert not await other.hold()
    assert await link.call("PTTL", keys.dispatch_lease(0)) > 0
    await place.release()
    assert await other.hold()


async def test_the_position_moves_forward_only(place: Dispatching, ground: Ground) -> None:
    first, second, third = [entry.position for entry in await ground.append(3)]
    epoch, start = await place.reached()
    assert start == (0, 0)
    assert await place.reached(epoch, start, second) == (epoch, second)
    assert await place.reached(epoch, start, first) == (epoch, second)  # a reader that stalled
    assert await place.reached(epoch, second, third) == (epoch, third)


async def test_the_position_does_not_move_for_a_reader_of_another_epoch(place: Dispatching, ground: Ground) -> None:
    (entry,) = await ground.append(1)
    epoch, start = await place.reached()
    assert await place.reached(epoch - 1, start, entry.position) == (epoch, start)


async def test_a_log_that_lost_its_tail_is_dispatched_from_its_end_in_a_new_epoch(
    place: Dispatching, ground: Ground, link: Link
) -> None:
    kept, lost = [entry.position for entry in await ground.append(2)]
    epoch, start = await place.reached()
    await place.reached(epoch, start, lost)
    await link.call("XDEL", keys.log(0), format_id(lost))
    new, position = await place.reached()
    assert new > epoch
    assert position == kept


async def test_a_reader_whose_entry_was_lost_moves_nothing(place: Dispatching, ground: Ground, link: Link) -> None:
    read = (await ground.append(1))[0].position
    epoch, start = await place.reached()
    await place.reached(epoch, start, read)
    await link.call("XDEL", keys.log(0), format_id(read))
    end = (await ground.append(1))[0].position  # another's entry, after a failover
    new, position = await place.reached(epoch, read, end)
    assert new > epoch
    assert position != end


async def test_what_was_trimmed_is_not_lost(place: Dispatching, ground: Ground, link: Link) -> None:
    read = (await ground.append(1))[0].position
    epoch, start = await place.reached()
    await place.reached(epoch, start, read)
    await link.call("XTRIM", keys.log(0), "MAXLEN", 0)
    await link.call("HSET", keys.meta(0), "floor", format_id(read))
    assert await place.reached(epoch, read, read) == (epoch, read)
    end = (await ground.append(1))[0].position
    assert await place.reached(epoch, read, end) == (epoch, end)


async def test_an_operational_event_is_appended_once_however_often_it_is_moved(ground: Ground, link: Link) -> None:
    ep = await ground.endpoint()
    (entry,) = await ground.append(1)
    await ground.owe(ep, [entry])
    await ground.settle(ep, await ground.claim(ep), "exhausted")
    partition = ground.queues.partition_of(ep)
    outbox = Outbox(link, ground.log)
    left = await link.call("DUMP", keys.outbox(partition))
    assert await outbox.move(partition) == 1
    assert await link.call("XLEN", keys.outbox(partition)) == 0
    await link.call("RESTORE", keys.outbox(partition), 0, left, "REPLACE")  # as if the removal had failed
    assert await outbox.move(partition) == 1
    told = [one for one in await ground.log.range(0, START) if one.topic == TOPIC]
    assert [(one.app, one.type) for one in told] == [(APP, "hub.delivery.exhausted")]
