"""`hub reseal`: after HUB_SECRET_KEY was changed, seal what the store holds under the new key.

It may be run while the hub serves, and again after it broke off: what is sealed under the present key stays as it is.
"""

from collections.abc import Mapping

import msgspec

from hub import settings
from hub.core.errors import NotFound
from hub.core.matching import Subscription
from hub.core.tenant import DEFAULT_APP
from hub.settings import Settings, SettingsError
from hub.store import keys
from hub.store.apps import Apps
from hub.store.connect import Link
from hub.store.endpoints import Endpoints
from hub.store.log import Log
from hub.store.revocations import Revocations
from hub.store.versioned import Version

_WITHIN = 5.0
_PAGE = 100


async def run(environ: Mapping[str, str]) -> None:
    """Do it, and print how much. Raises SettingsError, HubError."""
    configured = settings.load(environ)
    if configured.redis_url is None or configured.secret_key is None:
        raise SettingsError("HUB_REDIS_URL and HUB_SECRET_KEY must be set")
    link = Link(configured.redis_url)
    await link.open(_WITHIN)
    try:
        found, changed = await reseal(link, configured)
    finally:
        await link.close()
    print(
        f"{changed} of {found} endpoints and apps were sealed anew; HUB_SECRET_KEY_PREVIOUS is needed no more for them"
    )


async def reseal(link: Link, configured: Settings) -> tuple[int, int]:
    """How many endpoints and apps there are, and how many were changed. Raises HubError."""
    endpoints = Endpoints(link, configured, Log(link, partitions=configured.partitions, retention=configured.retention))
    version = Version(link)
    apps = Apps(link, configured, version, Revocations(link))
    names = {DEFAULT_APP, *(raw.decode() for raw in await link.call("ZRANGE", keys.APP_INDEX, 0, -1))}
    found = changed = 0
    for app in sorted(names):
        found += 1
        try:
            changed += await apps.reseal(app)
        except NotFound:
            continue  # deleted meanwhile
    cursor = b"0"
    while True:
        cursor, flat = await link.call("HSCAN", keys.ENDPOINTS, cursor, "COUNT", _PAGE)
        for endpoint_id, raw in zip(flat[::2], flat[1::2], strict=True):
            found += 1
            app = msgspec.json.decode(raw, type=Subscription).app
            try:
                changed += await endpoints.reseal(app, endpoint_id.decode())
            except NotFound:
                continue
        if cursor == b"0":
            return found, changed
