"""Thousands of bad requests: none is answered 5xx or not at all, each refusal names what is wrong, and none leaves
anything behind. `HUB_FUZZ` sets how many an operation gets, `HUB_FUZZ_SEED` which."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import pytest

from hub.app import OPERATIONS
from hub.core.errors import HubError
from hub.web.operation import Operation
from tests.support.hub import Hub
from tests.support.junk import Junk
from tests.support.live import WsClient

EACH: Final = int(os.environ.get("HUB_FUZZ", "30"))
SEED: Final = int(os.environ.get("HUB_FUZZ_SEED", "1"))
AT_ONCE: Final = 16
WITHIN: Final = 10.0
_HEADERS: Final = (
    "idempotency-key", "content-type", "accept", "last-event-id", "x-request-id", "ce-id", "ce-type", "ce-specversion",
    "ce-source", "api-version", "if-none-match", "if-match", "traceparent", "x-forwarded-for", "origin",
    "accept-encoding", "range", "expect",
)  # fmt: skip
_ENDLESS: Final = frozenset({"/v1/stream", "/v1/poll"})
_LISTS: Final = {"/v1/endpoints": 201, "/v1/keys": 201, "/v1/apps": 201}
"""Where a list shows what was made."""


def codes(tree: type[HubError] = HubError) -> set[str]:
    return {tree.code}.union(*(codes(one) for one in tree.__subclasses__()))


@pytest.fixture(scope="module")
def alone() -> Iterator[Hub]:
    """A hub of its own: junk that fits makes endpoints, apps and keys."""
    with Hub() as running:
        yield running


@pytest.fixture
async def sender(alone: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with alone.client() as client:
        client.timeout = httpx.Timeout(WITHIN)
        yield client


def names(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def request_for(operation: Operation, junk: Junk) -> dict[str, Any]:
    """What httpx is to send: the operation's path, query, headers and body, more or less."""
    path = operation.path
    while "{" in path:
        first, last = path.index("{"), path.index("}")
        path = path[:first] + (quote(junk.text(), safe="") or "x") + path[last + 1 :]
    query = [(param.name, junk.text()) for param in operation.query if junk.random.random() < 0.4]
    if junk.random.random() < 0.05:
        query.append((junk.text(), junk.text()))
    sent: dict[str, Any] = {"method": operation.method, "url": path, "headers": {}}
    if query:
        sent["params"] = query
    if operation.body is not None:
        shape = list[dict[str, Any]] if operation.body.parse is not None else operation.body.shape
        sent["content"] = publish_body(junk) if operation.path == "/v1/events" else junk.body(shape)
        sent["headers"]["content-type"] = "application/json"
    if junk.random.random() < 0.3:
        text = "".join(char for char in junk.text() if char.isprintable()).strip()
        sent["headers"][junk.random.choice(_HEADERS)] = text.encode()[:4000]
    return sent


class Plain(msgspec.Struct):
    """An event as a publisher would write it, without what keeps `data` from being decoded."""

    topic: str
    type: str
    data: Any
    id: str | None = None
    timestamp: str | None = None
    extensions: dict[str, Any] | None = None
    ephemeral: bool = False


def publish_body(junk: Junk) -> bytes:
    return junk.body(Plain if junk.random.random() < 0.6 else list[Plain])


def complaint(operation: Operation, response: httpx.Response) -> str | None:
    """What is wrong with an answer, or None."""
    status = response.status_code
    if status >= 500:
        return f"answered {status}: {response.text[:300]}"
    if "x-request-id" not in response.headers:
        return f"{status} without a request id"
    if status < 400 or operation.path.startswith("/v1/oauth/"):  # RFC 6749 has its own shape of errors
        return None
    if "application/problem+json" in response.headers["content-type"]:
        return None if response.json()["code"] in codes() else f"{status} {response.text[:300]}"
    error = response.json()["error"]
    if error["code"] not in codes():
        return f"an unknown code: {error}"
    if error["code"] == "VALIDATION_FAILED" and not all(one["field"] and one["message"] for one in error["details"]):
        return f"no field is named: {error}"
    return None if error["message"] else f"no message: {error}"


async def played(sender: httpx.AsyncClient, operation: Operation) -> Counter[int]:
    """Send an operation's junk; the number of answers by status. Fails with the first complaints and the seed."""
    junk = Junk(SEED * 1_000_003 + sum(names(operation).encode()))
    gate, found, wrong = asyncio.Semaphore(AT_ONCE), Counter[int](), list[str]()

    async def one(number: int, sent: dict[str, Any]) -> None:
        async with gate:
            began = time.monotonic()
            try:
                response = await sender.request(**sent)
            except httpx.HTTPError as exc:
                wrong.append(f"{number} {sent}: {exc!r} after {time.monotonic() - began:.1f} s")
                return
        found[response.status_code] += 1
        if (fault := complaint(operation, response)) is not None:
            wrong.append(f"{number} {sent}: {fault}")

    await asyncio.gather(*(one(number, request_for(operation, junk)) for number in range(EACH)))
    assert not wrong, f"{names(operation)}, HUB_FUZZ_SEED={SEED}:\n" + "\n".join(wrong[:5])
    return found


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if op.path not in _ENDLESS], ids=names)
async def test_an_operation_refuses_junk_by_name_and_leaves_nothing(
    alone: Hub, sender: httpx.AsyncClient, operation: Operation
) -> None:
    made = _LISTS.get(operation.path) if operation.method == "POST" else None
    before = await count_of(sender, operation.path) if made else 0
    logged = await log_length(alone)
    found = await played(sender, operation)
    assert sum(found.values()) == EACH
    if made:
        assert await count_of(sender, operation.path) - before == found[made], "a refused one was made all the same"
    if operation.path != "/v1/events":
        assert await log_length(alone) == logged, "it appended to the log"


async def count_of(sender: httpx.AsyncClient, path: str) -> int:
    """How many a list has, read to its end."""
    count, after = 0, None
    while True:
        answer = await sender.get(path, params={"limit": 100, **({"after": after} if after else {})})
        assert answer.status_code == 200, answer.text
        count += len(answer.json()["data"])
        after = answer.json()["pagination"]["next_cursor"]
        if after is None:
            return count


async def log_length(alone: Hub) -> int:
    with alone.store.client() as client:
        return int(client.xlen("hub:{p0}:log"))  # pyright: ignore[reportArgumentType]


async def test_a_refused_event_is_not_in_the_log_and_an_accepted_one_is_whole(
    alone: Hub, sender: httpx.AsyncClient
) -> None:
    junk, before, accepted = Junk(SEED), await log_length(alone), 0
    for _ in range(EACH * 4):
        body = publish_body(junk)
        answer = await sender.post("/v1/events", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (202, 400, 413), (body, answer.text)
        if answer.status_code == 202:
            given: Any = answer.json()["data"]
            receipts: list[Any] = [given] if isinstance(given, dict) else given
            accepted += sum(one["cursor"] is not None and not one["duplicate"] for one in receipts)
    assert accepted, "junk never fits: the test would prove nothing"
    assert await log_length(alone) - before == accepted
    with alone.store.client() as client:
        entries: Any = client.xrange("hub:{p0}:log")
    for _, entry in entries:
        json.loads(entry[b"e"])


async def test_a_websocket_answers_junk_with_errors_and_goes_on(alone: Hub) -> None:
    junk = Junk(SEED)
    kinds = ("join_room", "leave_room", "broadcast", "direct_message", "presence", "authenticate", "ping", "x")
    keys = (
        "room",
        "rooms",
        "after",
        "history",
        "types",
        "presence",
        "ref",
        "event_type",
        "data",
        "id",
        "user",
        "token",
        "ephemeral",
    )
    async with WsClient.open(alone) as client:
        for number in range(EACH * 4):
            message = {
                "type": junk.random.choice(kinds),
                **{key: junk.value() for key in keys if junk.random.random() < 0.25},
            }
            raw = json.dumps(message if junk.random.random() < 0.9 else junk.value()).encode()
            if junk.random.random() < 0.1:
                raw = junk.damaged(raw)
            text = raw.decode("utf-8", "replace")
            await client.connection.send(text)
            if number % 20 == 19:
                answers = await client.quiet()
                assert all(answer["type"] != "error" or answer["code"] in codes() for answer in answers)
                assert not any(answer.get("code") == HubError.code for answer in answers), answers
        assert (await client.join("still.here"))["room"] == "still.here"
