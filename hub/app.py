"""The composition root: what a web process is made of, and in which order it begins and ends."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.applications import Starlette

from hub import tracing
from hub.core.errors import HubError
from hub.group import Group
from hub.live.gateway import Gateway
from hub.live.presence import Presence
from hub.live.quota import Quota
from hub.live.revocation import RevocationWatch
from hub.live.slice import open_slice
from hub.live.tail import Tail
from hub.live.tenancy import Tenancy
from hub.settings import Settings, SettingsError, load
from hub.store.access import Access
from hub.store.api_keys import ApiKeys
from hub.store.app_figures import AppFigures
from hub.store.apps import Apps
from hub.store.audit import Audit
from hub.store.catalogue import Catalogue
from hub.store.census import Census
from hub.store.connect import Link
from hub.store.deliveries import Deliveries
from hub.store.endpoints import Endpoints
from hub.store.figures import Figures
from hub.store.grants import Grants
from hub.store.handshakes import Handshakes
from hub.store.janitor import Janitor
from hub.store.jobs import Jobs
from hub.store.limits import Limits
from hub.store.log import Log
from hub.store.quota import QuotaStore
from hub.store.readings import Readings
from hub.store.reaper import Reaper
from hub.store.requests import Requests
from hub.store.requirements import require_store, store_patience
from hub.store.revocations import Revocations
from hub.store.samples import Samples
from hub.store.tickets import Tickets
from hub.store.traffic import Counter
from hub.store.versioned import Version
from hub.telemetry import configure, logger
from hub.web import (
    admin,
    api_keys,
    apps,
    auditing,
    deliveries,
    endpoints,
    error_pages,
    event_types,
    events,
    handshakes,
    jobs,
    oauth,
    ops,
    pages,
    poll,
    portal,
    publish,
    reference,
    sse,
    static_files,
    stats,
    tickets,
    topics,
    users,
    ws,
)
from hub.web.application import Application
from hub.web.auditing import Auditing
from hub.web.context import Context
from hub.web.door import Door
from hub.web.idempotency import idempotency
from hub.web.jwks import Jwks
from hub.web.limiting import RateLimits, check_routes
from hub.web.operation import Stages
from hub.web.server import serve
from hub.web.tokens import Tokens
from hub.web.versions import VERSIONS, ApiVersion

OPERATIONS: Final = reference.with_documents((
    *publish.operations,
    *events.operations,
    *sse.operations,
    *poll.operations,
    *ws.operations,
    *endpoints.operations,
    *deliveries.operations,
    *jobs.operations,
    *handshakes.operations,
    *event_types.operations,
    *apps.operations,
    *api_keys.operations,
    *oauth.operations,
    *admin.operations,
    *portal.operations,
    *tickets.operations,
    *topics.operations,
    *users.operations,
    *stats.operations,
    *auditing.operations,
    *ops.operations,
    *pages.operations,
    *error_pages.operations,
    *static_files.operations,
))  # fmt: skip
"""The HTTP API, in the order of its documents. Publishing comes first, since the router looks in this order."""


def create_app(
    settings: Settings, group: Group | None = None, versions: tuple[ApiVersion, ...] = VERSIONS
) -> Starlette:
    """The ASGI application, one process of a group.

    Its lifespan connects to the store, and raises when that fails for STORE_WITHIN.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        try:
            async with resources(settings, group or Group("web")) as context:
                yield {"context": context}
        except (HubError, SettingsError) as exc:
            logger().error("start_failed", reason=str(exc))
            raise

    stages = Stages(RateLimits(settings) if settings.plans else None, idempotency, Auditing(settings))
    return Application(
        OPERATIONS, stages, ws.routes, versions=versions, origins=settings.cors_origins, lifespan=lifespan
    )


@contextlib.asynccontextmanager
async def resources(settings: Settings, group: Group) -> AsyncGenerator[Context]:
    """Everything that a web process holds, opened in order and closed in reverse."""
    if settings.redis_url is None:
        raise SettingsError("HUB_REDIS_URL is not set; hub dev starts a store of its own")
    check_routes(settings.plans, OPERATIONS)
    async with contextlib.AsyncExitStack() as stack:
        link = await _link(stack, settings.redis_url)
        tail_link = await _link(stack, settings.redis_url)
        counter = Counter(link)
        stack.push_async_callback(counter.flush)
        log = Log(
            link,
            partitions=settings.partitions,
            retention=settings.retention,
            durability=settings.durability,
            append_link=link if settings.durability == "store" else await _link(stack, settings.redis_url),
            counter=counter,
        )
        out = open_slice(settings.io_uring == "auto")
        stack.callback(out.close)
        quota = Quota(QuotaStore(link, secrets.token_hex(8)), settings.max_connections_per_app)
        gateway = Gateway(log, Tail(log, tail_link), Presence(link), out, quota)
        gateway.on_notice(users.KIND, users.disconnector(gateway))
        async for attempt in store_patience():
            with attempt:
                await require_store(link, settings)
                await gateway.start()
        stack.push_async_callback(gateway.stop)
        revocations, version = Revocations(link), Version(link)
        tenants = Apps(link, settings, version, revocations)
        keys = ApiKeys(link, tenants, version, revocations)
        grants = Grants(link, version, revocations)
        access = Access(link, settings.bootstrap_key, version, keys, grants)
        catalogue = Catalogue(link)
        await catalogue.look()
        endpoints_store = Endpoints(link, settings, log)
        reaper = Reaper(tenants, keys, endpoints_store, catalogue)
        door = Door(settings.shed_lag)
        jwks = Jwks()
        stack.push_async_callback(jwks.close)
        for part in (RevocationWatch(gateway, revocations), Tenancy(gateway, tenants, version), reaper, access,
                     catalogue, quota, counter, door, Janitor(link, settings),
                     Census(link, settings.delivery_partitions)):  # fmt: skip
            task = asyncio.create_task(part.run(), name=type(part).__name__)
            stack.push_async_callback(_cancelled, task)
        context = Context(
            settings=settings,
            link=link,
            log=log,
            apps=tenants,
            api_keys=keys,
            grants=grants,
            reaper=reaper,
            access=access,
            tokens=Tokens(tenants, version, jwks, settings.jwt_leeway),
            tickets=Tickets(link),
            revocations=revocations,
            endpoints=endpoints_store,
            deliveries=Deliveries(link, settings, log, endpoints_store),
            app_figures=AppFigures(link),
            figures=Figures(link, settings, endpoints_store),
            jobs=Jobs(link, settings, log, endpoints_store),
            handshakes=Handshakes(link, settings.delivery_partitions, settings.webhook_timeout),
            samples=Samples(link, settings, endpoints_store),
            catalogue=catalogue,
            gateway=gateway,
            limits=Limits(link),
            group=group,
            readings=Readings(link, settings),
            requests=Requests(link, settings.secret_key, settings.partitions, settings.secret_key_previous),
            audit=Audit(link, settings.audit_retention),
            door=door,
        )
        await group.open()
        stack.push_async_callback(group.close)
        logger().info("web_ready", partitions=settings.partitions, window=len(gateway.window), writes=out.how)
        yield context


async def _link(stack: contextlib.AsyncExitStack, url: str) -> Link:
    link = Link(url)
    await link.open()
    stack.push_async_callback(link.close)
    return link


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def run(settings: Settings, sock: socket.socket, group: Group, ready_fd: int | None = None) -> int:
    """Serve one web process on a listening socket until SIGINT or SIGTERM; returns the exit code.

    A byte is written to `ready_fd` once it serves.
    """
    return serve(create_app(settings, group), sock, ready_fd)


def asgi() -> Starlette:
    """The application with the environment's settings, for another ASGI server: `uvicorn --factory hub.app:asgi`.

    Everything works there; live connections cost more, since only the hub's own server offers the raw write path.
    """
    settings = load()
    configure(settings, "web")
    tracing.configure(settings, "web")
    return create_app(settings)
