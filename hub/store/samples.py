"""Test events: sent to one endpoint alone, by the way that every delivery takes, and in no log."""

from typing import Final

import msgspec

from hub.core import event as events
from hub.core.errors import Conflict, NotFound
from hub.core.event import EventInput, now_text
from hub.core.topics import check_type
from hub.settings import Settings
from hub.store import keys
from hub.store.connect import Link
from hub.store.endpoints import Endpoints, ring
from hub.store.records import TESTS, Ref, delivery_id
from hub.store.scripts import script
from hub.store.wire import Arg

TOPIC: Final = "hub.test"
TYPE: Final = "hub.test"
DATA: Final = msgspec.Raw(b'{"message":"This is a test event."}')


class SampleInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a test event is to be. Its data is the catalogue's example of the type, where there is one."""

    type: str = TYPE


class Samples:
    """Sends them."""

    def __init__(self, link: Link, settings: Settings, endpoints: Endpoints) -> None:
        self._link = link
        self._endpoints = endpoints
        self._settings = settings

    async def send(
        self, app: str, endpoint_id: str, given: SampleInput, example: msgspec.Raw | None, request_id: str
    ) -> str:
        """Owe a test event to the endpoint; returns the delivery's id. Raises Invalid, NotFound, Conflict."""
        check_type(given.type)
        await self._endpoints.get(app, endpoint_id)
        partition = keys.delivery_partition(endpoint_id, self._settings.delivery_partitions)
        (seconds, micros), number = await self._link.pipeline([("TIME",), ("INCR", keys.origins(partition))])
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        ref = Ref(0, now_ms, int(number), TESTS)
        event = events.seal(
            EventInput(TOPIC, given.type, DATA if example is None else example),
            id=events.new_id(now_ms),
            timestamp=now_text(now_ms),
            max_bytes=self._settings.max_event_bytes,
        )
        names = [
            keys.sched(partition),
            keys.endpoint(partition, endpoint_id),
            keys.retries(partition, endpoint_id),
            keys.record(partition, str(ref)),
            keys.owed_body(partition, str(ref)),
            keys.origin_index(partition, endpoint_id, 0, TESTS),
        ]
        args: list[Arg] = [endpoint_id, str(ref), f"{ref.ms}-{ref.seq}", event.id, app, TOPIC, event.type, request_id]
        answer = await self._link.run(script("sample"), names, [*args, event.body, self._settings.attempt_retention])
        if answer == b"missing":
            raise NotFound("The endpoint was deleted")
        if answer == b"off":
            raise Conflict("The endpoint is disabled, so a test event would only wait; enable it first")
        await ring(self._link, partition)
        return delivery_id(ref, endpoint_id)
