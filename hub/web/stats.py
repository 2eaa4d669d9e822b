"""`GET /v1/stats`: an app's own figures."""

from hub.store.app_figures import AppStats
from hub.web.auth import scope
from hub.web.operation import Call, Operation


async def read(call: Call[None]) -> AppStats:
    """What passes through the app, who is connected, how its endpoints stand, and what they are owed."""
    return await call.resources.app_figures.read(call.app)


operations = (Operation("GET", "/v1/stats", read, "Read the app's figures", scope("endpoints:read"), answer=AppStats),)
