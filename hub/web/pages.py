"""`GET /dashboard` and `GET /portal`: pages for people. They hold no data; what they show, they ask the API for."""

from starlette.responses import HTMLResponse

from hub.web.auth import OPEN
from hub.web.error_pages import HTML, POLICY
from hub.web.operation import Call, Operation
from hub.web.static_files import load


async def dashboard(_call: Call[None]) -> HTMLResponse:
    """An app's figures, endpoints, failures and live events, for the API key that one types there."""
    return HTMLResponse(load("dashboard.html"), headers=POLICY)


async def portal(_call: Call[None]) -> HTMLResponse:
    """Where a tenant looks after its endpoints and deliveries, by a link of `POST /v1/portal`."""
    return HTMLResponse(load("portal.html"), headers=POLICY)


operations = (
    Operation("GET", "/dashboard", dashboard, "Open the dashboard", OPEN, media=HTML),
    Operation("GET", "/portal", portal, "Open the portal", OPEN, media=HTML),
)
