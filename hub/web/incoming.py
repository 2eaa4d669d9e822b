"""A request whose headers are looked up by name, not searched for: the stages ask for many that aren't there."""

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request, empty_receive, empty_send
from starlette.types import Receive, Scope, Send


class NamedHeaders(Headers):
    """Starlette's headers, by a table. Of a header that came twice the first counts, as there."""

    def __init__(self, scope: Scope) -> None:
        self._list = scope["headers"]
        self._first = {name.decode("latin-1"): value for name, value in reversed(self._list)}

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower()].decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._first

    def get(self, key: str, default: Any = None) -> Any:
        value = self._first.get(key.lower())
        return default if value is None else value.decode("latin-1")


class Incoming(Request):
    """A request to the API."""

    def __init__(self, scope: Scope, receive: Receive = empty_receive, send: Send = empty_send) -> None:
        super().__init__(scope, receive, send)
        self._named = NamedHeaders(scope)

    @property
    def headers(self) -> NamedHeaders:
        return self._named
