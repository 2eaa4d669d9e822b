"""What a route may use: the process's resources, which the application's lifespan owns."""

from typing import cast

import msgspec
from starlette.requests import HTTPConnection

from hub.group import Group
from hub.live.gateway import Gateway
from hub.settings import Settings
from hub.store.access import Access
from hub.store.api_keys import ApiKeys
from hub.store.app_figures import AppFigures
from hub.store.apps import Apps
from hub.store.audit import Audit
from hub.store.catalogue import Catalogue
from hub.store.connect import Link
from hub.store.deliveries import Deliveries
from hub.store.endpoints import Endpoints
from hub.store.figures import Figures
from hub.store.grants import Grants
from hub.store.handshakes import Handshakes
from hub.store.jobs import Jobs
from hub.store.limits import Limits
from hub.store.log import Log
from hub.store.readings import Readings
from hub.store.reaper import Reaper
from hub.store.requests import Requests
from hub.store.revocations import Revocations
from hub.store.samples import Samples
from hub.store.tickets import Tickets
from hub.web.door import Door
from hub.web.tokens import Tokens


class Context(msgspec.Struct, frozen=True):
    settings: Settings
    link: Link
    log: Log
    apps: Apps
    api_keys: ApiKeys
    grants: Grants
    reaper: Reaper
    access: Access
    tokens: Tokens
    tickets: Tickets
    revocations: Revocations
    endpoints: Endpoints
    deliveries: Deliveries
    app_figures: AppFigures
    figures: Figures
    jobs: Jobs
    handshakes: Handshakes
    samples: Samples
    catalogue: Catalogue
    gateway: Gateway
    limits: Limits
    group: Group
    readings: Readings
    requests: Requests
    audit: Audit
    door: Door


def context(connection: HTTPConnection) -> Context:
    return cast("Context", connection.scope["state"]["context"])
