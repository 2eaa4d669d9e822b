"""Versions of the API: by the path (`/v1/…`), by the header `API-Version` or by `?version=`; and how one is retired.

A path without a version is completed by the header or the query: `GET /events` with `API-Version: 1` is
`GET /v1/events`. A retired version goes on working until its end, and each answer says so by `Deprecation` (RFC 9745),
`Sunset` (RFC 8594) and `Link`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import parse_qs, urlencode

import msgspec
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.core.errors import HubError, VersionGone, VersionUnknown
from hub.web.http import failed, now_ms

_IN_PATH: Final = re.compile(r"/v([0-9]{1,9})(?=/|$)")
_HEADER: Final = b"api-version"
_QUERY: Final = b"version="


class ApiVersion(msgspec.Struct, frozen=True):
    """One version. `retired` and `ends` are times in s since 1970, `successor` the version to move to."""

    name: str
    retired: int | None = None
    ends: int | None = None
    successor: str | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What each of its answers carries."""
        found = {"api-version": self.name}
        links: list[str] = []
        if self.retired is not None:
            found["deprecation"] = f"@{self.retired}"
            links.append('</docs#versions>; rel="deprecation"; type="text/html"')
        if self.ends is not None:
            found["sunset"] = format_datetime(datetime.fromtimestamp(self.ends, UTC), usegmt=True)
            links.append('</docs#versions>; rel="sunset"; type="text/html"')
        if self.successor is not None:
            links.append(f'</v{self.successor}>; rel="successor-version"')
        if links:
            found["link"] = ", ".join(links)
        return [(name.encode(), value.encode()) for name, value in found.items()]


VERSIONS: Final = (ApiVersion("1"),)
"""All there are."""


class Versioned:
    """Finds out which version a request is for, and lets its answer say so.

    `resources` are the first segments of the paths that have versions. The headers go out by RequestContext, which
    finds them in the request's state.
    """

    def __init__(self, app: ASGIApp, resources: frozenset[str], versions: tuple[ApiVersion, ...] = VERSIONS) -> None:
        self._app = app
        self._resources = resources
        self._versions = {version.name: version for version in versions}
        self._headers = {version.name: version.headers() for version in versions}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            name = self._select(scope)
        except HubError as exc:
            await failed(HTTPConnection(scope), exc)(scope, receive, send)  # to a handshake too
            return
        if name is not None:
            scope["state"]["headers"] = self._headers[name]
        await self._app(scope, receive, send)

    def _select(self, scope: Scope) -> str | None:
        """The request's version, None where it names none; a path without one is completed. Raises HubError."""
        path: str = scope["path"]
        in_path = _IN_PATH.match(path)
        if in_path is None and path[1:].partition("/")[0] not in self._resources:
            return None
        wanted = {} if in_path is None else {"the path": in_path[1]}
        for key, value in scope["headers"]:
            if key == _HEADER:
                wanted["API-Version"] = value.decode("latin-1")
        if _QUERY in scope["query_string"] and (given := _taken(scope)) is not None:
            wanted["?version="] = given
        if not wanted:
            return None
        name = self._agreed(wanted)
        if in_path is None:
            scope["path"] = f"/v{name}{path}"
            scope["raw_path"] = f"/v{name}".encode() + scope.get("raw_path", path.encode())
        return name

    def _agreed(self, wanted: Mapping[str, str]) -> str:
        known = ", ".join(self._versions)
        names = {text.strip().removeprefix("v") for text in wanted.values()}
        if len(names) > 1:
            found = " and ".join(f"{where} {text[:40]!r}" for where, text in wanted.items())
            raise VersionUnknown(f"The request names different versions: {found}; name one of: {known}")
        (name,) = names
        version = self._versions.get(name)
        if version is None:
            (where, text), *_ = wanted.items()
            raise VersionUnknown.field(
                "version", f"{text[:40]!r} ({where}) is no version of this API; allowed: {known}"
            )
        if version.ends is not None and version.ends * 1000 <= now_ms():
            raise VersionGone(f"Version {name} has ended; use version {version.successor or known}")
        return name


def _taken(scope: Scope) -> str | None:
    """Take `?version=` out of the query, so that routes needn't know it."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    found = query.pop("version", None)
    scope["query_string"] = urlencode(query, doseq=True).encode()
    return None if found is None else found[-1]
