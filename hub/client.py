"""The client commands: a hub's HTTP API from the command line."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import httpx
import msgspec

from hub import dev

TIMEOUT: Final = 30.0


What: TypeAlias = str | tuple[str, ...]
"""What of the hub's: one part of a path, or several."""


class Failure(Exception):
    """The hub could not be reached, or said no."""


class Usage(Exception):
    """The command was not given what it needs."""


class Target(msgspec.Struct, frozen=True):
    """Which hub, and as whom."""

    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def at(self, *path: What) -> str:
        parts = [part for one in path for part in ((one,) if isinstance(one, str) else one)]
        return "/".join((self.url.rstrip("/"), "v1", *(quote(part, safe="") for part in parts)))


def target(url: str, key: str) -> Target:
    """The hub that was named; what was left open is taken from the `hub dev` that runs on this folder."""
    running = dev.find_running(Path(os.environ.get("HUB_DATA_DIR") or ".hub"))
    if url and not url.startswith(("http://", "https://")):
        raise Usage(f"--url (HUB_URL) is {url!r}; allowed: http://… or https://…")
    if not key and (running is None or (url and url.rstrip("/") != running.url)):
        raise Usage("No API key: give --key or HUB_KEY, or start hub dev in this folder")
    return Target(url or (running.url if running else "http://127.0.0.1:8080"), key or (running.key if running else ""))


def publish(hub: Target, topic: str, type: str, data: str) -> tuple[str, str]:
    """Publish one event; its id and cursor. `data` is JSON, `-` for standard input, or `@` and a file's name."""
    body = {"topic": topic, "type": type, "data": payload(data, "DATA")}
    answer = _request("POST", hub, hub.at("events"), body)
    return answer["data"]["id"], answer["data"]["cursor"]


def create(hub: Target, what: What, body: Mapping[str, Any]) -> dict[str, Any]:
    return _request("POST", hub, hub.at(what), body)["data"]


def change(hub: Target, what: What, name: str, body: Mapping[str, Any]) -> None:
    _request("PATCH", hub, hub.at(what, name), body)


def put(hub: Target, what: What, body: Mapping[str, Any]) -> None:
    _request("PUT", hub, hub.at(what), body)


def delete(hub: Target, what: What, name: str) -> None:
    _request("DELETE", hub, hub.at(what, name))


def act(hub: Target, what: What, name: str, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return _request("POST", hub, hub.at(what, name, action), body or {})["data"]


def show(hub: Target, *path: str) -> None:
    """Print one thing as JSON, to be read."""
    print(msgspec.json.format(msgspec.json.encode(_request("GET", hub, hub.at(*path))["data"]), indent=2).decode())


def table(hub: Target, what: What, columns: Sequence[str], query: Mapping[str, str] | None = None) -> None:
    """Print a list's first page: as a table on a terminal, as one JSON line per item elsewhere."""
    place = hub.at(what)
    answer = _request("GET", hub, place, query=query)
    if not sys.stdout.isatty():
        for item in answer["data"]:
            print(msgspec.json.encode(item).decode())
        return
    rows = [list(columns), *([_cell(item, column) for column in columns] for item in answer["data"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # never cut or folded: what stands here is there to be copied
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if answer.get("pagination", {}).get("has_more"):
        print(f"There are more; page through GET {place} by its next_cursor.")


def refusal(response: httpx.Response) -> Failure:
    """What the hub's error answer says; its body must have been read."""
    try:
        error = msgspec.json.decode(response.content)["error"]
        return Failure(f"{error['message']} ({error['code']}, HTTP {response.status_code})")
    except (msgspec.MsgspecError, KeyError, TypeError):
        return Failure(f"{response.request.url} answered HTTP {response.status_code}, and not as a hub does")


def unreachable(hub: Target, exc: httpx.HTTPError) -> Failure:
    return Failure(f"{hub.url} can't be reached: {str(exc) or type(exc).__name__}")


def _request(
    method: str, hub: Target, url: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    headers = {**hub.headers, "content-type": "application/json"}
    content = None if body is None else msgspec.json.encode(body)
    try:
        response = httpx.request(method, url, params=query, content=content, headers=headers, timeout=TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise Failure(f"{hub.url} can't be reached: {str(exc) or type(exc).__name__}") from None
    if not response.is_success:
        raise refusal(response)
    try:
        return msgspec.json.decode(response.content or b'{"data": null}', type=dict[str, Any])
    except msgspec.MsgspecError:
        raise refusal(response) from None


def payload(data: str, name: str) -> msgspec.Raw:
    """JSON, byte for byte as given: as such, `-` for standard input, or `@` and a file's name. Raises Usage."""
    try:
        given = _read(data)
        msgspec.json.decode(given)
    except OSError as exc:
        raise Usage(f"{data[1:]} can't be read: {exc.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Usage(f"{name} is not JSON ({exc}); a text needs its quotes: '\"text\"'") from None
    return msgspec.Raw(given)


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    return Path(data[1:]).read_bytes() if data.startswith("@") else data.encode()


def _cell(item: dict[str, Any], column: str) -> str:
    """The text of a field; `event.type` is a field within one."""
    value: Any = item
    for name in column.split("."):
        value = value.get(name)
    if isinstance(value, list):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return "-" if value is None else str(value)
