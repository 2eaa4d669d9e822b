"""Health: is the process alive, and can an event travel through it now?"""

import asyncio
from typing import Final

import msgspec
from starlette.responses import JSONResponse, Response

from hub.core.errors import HubError
from hub.web.auth import OPEN
from hub.web.context import Context
from hub.web.operation import Call, Operation

TAIL_WITHIN: Final = 1.0
"""Seconds that the tail has to reach what is in the log now."""


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ok`, or `unavailable` with what is wrong, by part."""

    status: str
    faults: dict[str, str] = {}


async def live(_call: Call[None]) -> Response:
    """The process is alive."""
    return JSONResponse({"status": "ok"})


async def ready(call: Call[None]) -> Response:
    """200 when the store answers and the tail is not behind; else 503 with the reasons. Open to all: says no secret."""
    faults = await _faults(call.resources)
    if faults:
        return JSONResponse({"status": "unavailable", "faults": faults}, 503, {"retry-after": "1"})
    return JSONResponse({"status": "ok"})


async def _faults(resources: Context) -> dict[str, str]:
    gateway = resources.gateway
    if gateway.draining:
        return {"process": "this process is shutting down"}
    try:
        for partition in range(resources.log.partitions):
            _, last, _ = await resources.log.observe(partition)
            async with asyncio.timeout(TAIL_WITHIN):
                await gateway.reached(partition, last)
    except TimeoutError:
        return {"tail": gateway.fault or "events in the log have not been fanned out within 1 s"}
    except HubError as exc:
        return {"store": exc.message}
    return {} if gateway.fault is None else {"tail": gateway.fault}


_JSON: Final = "application/json"
operations = (
    Operation("GET", "/health/live", live, "Is the process alive?", OPEN, answer=Health, media=_JSON),
    Operation("GET", "/health/ready", ready, "Can an event travel now?", OPEN, answer=Health, media=_JSON),
)
