"""A worker's own port, where HUB_METRICS_PORT asks for one: health and metrics, for whoever can't ask a web process."""

import contextlib
import hmac
from collections.abc import AsyncGenerator

from aiohttp import web

from hub import scrape
from hub.group import Group
from hub.settings import Settings, SettingsError
from hub.store.connect import Link
from hub.store.readings import Readings


@contextlib.asynccontextmanager
async def status(settings: Settings, group: Group, link: Link) -> AsyncGenerator[None]:
    """Serve while the worker runs. Raises SettingsError where the port can't be had.

    A worker that was started together with others has none: a web process answers for them all.
    """
    if settings.metrics_port is None or not group.is_alone:
        yield
        return
    runner = web.AppRunner(_app(settings, group, link), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", settings.metrics_port).start()  # noqa: S104 - asked for by its setting
    except OSError as exc:
        await runner.cleanup()
        raise SettingsError(f"HUB_METRICS_PORT={settings.metrics_port} can't be used: {exc.strerror}") from None
    try:
        yield
    finally:
        await runner.cleanup()


def _app(settings: Settings, group: Group, link: Link) -> web.Application:
    readings = Readings(link, settings)
    key = settings.metrics_key

    async def metrics(request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "")
        if key is not None and not hmac.compare_digest(f"Bearer {key}".encode(), given.encode()):
            return web.Response(
                status=401, headers={"www-authenticate": "Bearer"}, text="The key is in HUB_METRICS_KEY\n"
            )
        page, content_type = await scrape.page(group, readings, request.headers)
        return web.Response(body=page, headers={"content-type": content_type})

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_request: web.Request) -> web.Response:
        if link.is_up:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "unavailable", "faults": {"store": link.fault}}, status=503)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/health/live", live), web.get("/health/ready", ready)])
    return app
