"""Routes of endpoints' jobs: recoveries and replays."""

import re
from typing import Final

from hub.core.errors import Conflict, InvalidCursor, NotFound
from hub.core.span import Span
from hub.store.jobs import Job
from hub.web.auth import scope
from hub.web.http import Page
from hub.web.operation import Body, Call, Operation
from hub.web.paging import Paging

PAGING: Final = Paging("jobs", re.compile(r"[0-9]{16}"), newest_first=True)


async def recover(call: Call[Span]) -> Job:
    """What failed of the events of this time is owed once more: exhausted deliveries from the start of the schedule,
    and those that wait for their next attempt at once."""
    return await call.resources.jobs.start(call.app, call.path("id"), "recover", call.body)


async def replay(call: Call[Span]) -> Job:
    """All events of this time that match the endpoint's filters are owed anew, sent before or not."""
    return await call.resources.jobs.start(call.app, call.path("id"), "replay", call.body)


async def listing(call: Call[None]) -> Page:
    """Newest first."""
    window = PAGING.window(call.request)
    return PAGING.page(await call.resources.jobs.of_endpoint(call.app, call.path("id"), window), window)


async def read(call: Call[None]) -> Job:
    """How far a job has come."""
    return await call.resources.jobs.get(call.app, call.path("id"))


async def cancel(call: Call[None]) -> Job:
    """It owes nothing more; what it has owed stays owed."""
    return await call.resources.jobs.cancel(call.app, call.path("id"))


_READ: Final = scope("endpoints:read")
_WRITE: Final = scope("endpoints:write")
operations = (
    Operation(
        "POST", "/v1/endpoints/{id}/recover", recover, "Recover what failed", _WRITE,
        body=Body(Span, example={"since": "2026-01-31T08:00:00Z"}), answer=Job, status=202, errors=(NotFound, Conflict),
    ),
    Operation(
        "POST", "/v1/endpoints/{id}/replay", replay, "Replay what matched", _WRITE,
        body=Body(Span, example={"since": "2026-01-31T08:00:00Z"}), answer=Job, status=202, errors=(NotFound, Conflict),
    ),
    Operation(
        "GET", "/v1/endpoints/{id}/jobs", listing, "List an endpoint's jobs", _READ,
        query=PAGING.params, answer=Job, is_list=True, errors=(NotFound, InvalidCursor),
    ),
    Operation("GET", "/v1/jobs/{id}", read, "Read one job", _READ, answer=Job, errors=(NotFound,)),
    Operation(
        "POST", "/v1/jobs/{id}/cancel", cancel, "Cancel a job", _WRITE, answer=Job, errors=(NotFound, Conflict)
    ),
)  # fmt: skip
