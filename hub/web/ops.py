"""Health: is the process alive, and can an event travel through it now? And the metrics."""

import asyncio
import hmac
from typing import Final

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from hub import scrape
from hub.core.claims import ALL_APPS
from hub.core.errors import HubError, Unauthenticated
from hub.web.auth import OPEN, Credential, bearer
from hub.web.context import Context, context
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
    found = await faults(call.resources)
    if found:
        return JSONResponse({"status": "unavailable", "faults": found}, 503, {"retry-after": "1"})
    return JSONResponse({"status": "ok"})


async def faults(resources: Context) -> dict[str, str]:
    """Why no event can travel through this process now, by part; empty where one can."""
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


async def metrics(call: Call[None]) -> Response:
    """In Prometheus' text format, or OpenMetrics: those of every process that was started together with this one."""
    page, content_type = await scrape.page(call.resources.group, call.resources.readings, call.request.headers)
    return Response(page, media_type=content_type)


async def _check_scraper(request: HTTPConnection) -> None:
    """What stands in the metrics is every app's: a key of one of them doesn't open them."""
    key, given = context(request).settings.metrics_key, bearer(request)
    if given is None:
        raise Unauthenticated("No credential; send Authorization: Bearer KEY, the one in HUB_METRICS_KEY")
    if key is None or not hmac.compare_digest(key.encode(), given.encode()):
        (await context(request).access.principal(given)).require(ALL_APPS)


SCRAPER: Final = Credential(f"`HUB_METRICS_KEY`, or `{ALL_APPS}`", _check_scraper)
_JSON: Final = "application/json"
operations = (
    Operation("GET", "/health/live", live, "Is the process alive?", OPEN, answer=Health, media=_JSON),
    Operation(
        "GET",
        "/health/ready",
        ready,
        "Can an event travel now?",
        OPEN,
        answer=Health,
        media=_JSON,
        more_answers={"503": {"description": "Not now: `faults` says what is wrong."}},
    ),
    Operation("GET", "/metrics", metrics, "Metrics", SCRAPER, answer=str, media="text/plain"),
)
