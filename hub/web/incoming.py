"""A request whose headers are looked up by name, not searched for: the stages ask for many that aren't there."""

from functools import cached_property
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope


class NamedHeaders(Headers):
    """Starlette's headers, by a table. Of a header that came twice the first counts, as there."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = dict(reversed(self._list))

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower().encode("latin-1")].decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower().encode("latin-1") in self._first

    def get(self, key: str, default: Any = None) -> Any:
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class Incoming(Request):
    """A request to the API."""

    @cached_property
    def headers(self) -> NamedHeaders:  # type: ignore[override]
        return NamedHeaders(self.scope)
