"""More requests than can be served: what is refused, how, and what goes on all the while."""

import asyncio
import contextlib
import json
import re
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, cast

import httpx
import pytest
import uvicorn

from hub import settings
from hub.app import create_app
from hub.core.valve import NO_LIMIT
from hub.web.context import Context
from hub.web.door import LONGEST_WAIT, REFUSALS, Door
from hub.web.protocols import LiveHttp, LiveWebSocket
from tests.support.bystander import Bystander
from tests.support.hub import Hub, auth, free_port
from tests.support.live import WsClient
from tests.support.raw_ws import RawWs, request
from tests.support.waiting import eventually

ORIGIN = "https://app.example"
AUTH = "".join(f"{name}: {value}\r\n" for name, value in auth().items()).encode()


def asks(line: str, body: bytes = b"", headers: bytes = b"") -> bytes:
    length = b"content-length: %d\r\n" % len(body) if body else b""
    return b"%b HTTP/1.1\r\nhost: hub\r\n%b%b%b\r\n%b" % (line.encode(), AUTH, length, headers, body)


EVENT = json.dumps({"topic": "over.1", "type": "test.event", "data": 1}).encode()
PUBLISH = asks("POST /v1/events", EVENT)
LIVE = asks("GET /health/live")


class Quiet(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Inside:
    """A web process that is this one, so that a test holds its door."""

    def __init__(self, port: int, hub: Hub) -> None:
        self.ports = [port]
        self.hub = hub
        self.door: Door

    def close(self, longest: float = 0.0) -> None:
        self.door.requests.longest = self.door.connects.longest = longest
        self.door.requests.limit = self.door.connects.limit = 0

    def open(self, limit: int = NO_LIMIT) -> None:
        self.door.requests.limit = self.door.connects.limit = limit

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncGenerator[RawWs]:
        async with RawWs.connect(cast("Hub", self)) as raw:
            yield raw

    def appended(self) -> int:
        with self.hub.store.client() as store:
            return store.xlen("hub:{p0}:log")


@pytest.fixture(scope="module")
def parts() -> Iterator[Hub]:
    """A store and settings; the web process is the test's own."""
    with Hub(web=0, HUB_SHED_LAG="off", HUB_CORS_ORIGINS=ORIGIN) as running:
        yield running


@pytest.fixture
async def web(parts: Hub) -> AsyncIterator[Inside]:
    app, port = create_app(settings.load(parts.environment)), free_port()
    config = uvicorn.Config(app, http=LiveHttp, ws=LiveWebSocket, lifespan="on", log_config=None, access_log=False)
    server, sock = Quiet(config), socket.create_server(("127.0.0.1", port), backlog=1024)
    serving = asyncio.create_task(server.serve([sock]))
    await eventually(lambda: server.started, "it serves")
    inside = Inside(port, parts)
    inside.door = cast("Context", server.lifespan.state["context"]).door
    yield inside
    await eventually(lambda: inside.door.requests.busy == inside.door.connects.busy == 0, "nothing is left in progress")
    server.should_exit = True
    await serving
    sock.close()


async def answer(raw: RawWs) -> tuple[int, dict[str, str], Any]:
    status, headers = await raw.head()
    body = await raw.reader.readexactly(int(headers["content-length"]))
    return status, headers, json.loads(body)


def check_refusal(status: int, headers: dict[str, str], body: Any) -> None:
    assert status == 503
    assert 1 <= int(headers["retry-after"]) <= LONGEST_WAIT
    assert body["success"] is False
    assert body["error"].keys() == {"code", "message", "details", "hint", "docs"}
    assert body["error"]["code"] == "OVERLOADED"
    assert body["meta"]["request_id"] == headers["x-request-id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", body["meta"]["timestamp"])


@pytest.mark.parametrize(
    "sent",
    [PUBLISH, asks("GET /v1/events?topic=over.1"), asks("GET /v1/stream?topic=over.1"), asks("DELETE /v1/keys/key_1"),
     asks("POST /v1/events", EVENT, b"x-request-id: mine\r\n"), asks("GET /v1/nothing")],
    ids=lambda sent: sent.split(b"\r\n")[0].decode(),
)  # fmt: skip
async def test_a_whole_request_is_refused_and_nothing_of_it_done(web: Inside, sent: bytes) -> None:
    before = web.appended()
    async with web.connect() as raw:
        web.close()
        for _ in range(2):  # on a fresh connection, and on one that was refused
            raw.send(sent)
            check_refusal(*await answer(raw))
        assert web.appended() == before
        web.open()
        raw.send(PUBLISH)
        assert (await answer(raw))[0] == 202, "the connection goes on"
        web.close()
        raw.send(sent)
        check_refusal(*await answer(raw))


async def test_health_and_metrics_pass_on_a_connection_of_their_own_and_on_one_that_was_refused(web: Inside) -> None:
    web.close()
    async with web.connect() as raw:
        for path in ("/health/live", "/health/ready"):
            raw.send(asks(f"GET {path}"))
            assert await answer(raw) is not None
        raw.send(PUBLISH)
        check_refusal(*await answer(raw))
        raw.send(asks("GET /health/ready?verbose=1")[:-2], b"\r\n")
        assert (await answer(raw))[0] in (200, 400), "judged by the operation, not at the door"
        raw.send(asks("GET /metrics"))
        status, headers = await raw.head()
        page = (await raw.reader.readexactly(int(headers["content-length"]))).decode()
    assert status == 200
    assert re.search(r'hub_shed_total\{.*kind="request".*\} [1-9]', page)
    assert re.search(r'hub_errors_total\{.*code="OVERLOADED".*\} [1-9]', page)


async def test_each_of_several_requests_that_came_together_is_answered(web: Inside) -> None:
    web.close()
    async with web.connect() as raw:
        raw.send(PUBLISH * 20)
        got = [await answer(raw) for _ in range(20)]
        for one in got:
            check_refusal(*one)
        assert len({headers["x-request-id"] for _, headers, _ in got}) == 20
        assert len({headers["retry-after"] for _, headers, _ in got}) > 1, "not all are to come back at once"
        raw.send(PUBLISH + LIVE)
        check_refusal(*await answer(raw))
        assert (await answer(raw))[0] == 200, "health, even behind another"


@pytest.mark.parametrize("cut", [1, 60, len(PUBLISH) - len(EVENT), len(PUBLISH) - 1])
async def test_a_request_that_comes_in_pieces_is_refused_too(web: Inside, cut: int) -> None:
    before = web.appended()
    async with web.connect() as raw:
        raw.send(LIVE)
        assert (await answer(raw))[0] == 200
        web.close()
        raw.send(PUBLISH[:cut])
        await raw.writer.drain()
        async with web.connect() as other:  # served after it, as this process reads both
            other.send(LIVE)
            assert (await answer(other))[0] == 200
        raw.send(PUBLISH[cut:])
        check_refusal(*await answer(raw))
        web.open()
        raw.send(PUBLISH)
        assert (await answer(raw))[0] == 202
    assert web.appended() == before + 1


async def test_a_head_request_gets_no_body_and_a_page_the_headers_that_let_it_see_the_error(web: Inside) -> None:
    web.close()
    async with web.connect() as raw:
        raw.send(asks("HEAD /v1/events"))
        status, headers = await raw.head()
        assert status == 503
        assert 1 <= int(headers["retry-after"]) <= LONGEST_WAIT
        raw.send(asks("POST /v1/events", EVENT, f"Origin: {ORIGIN}\r\n".encode()))
        refused = await answer(raw)
    check_refusal(*refused)
    assert refused[1]["access-control-allow-origin"] == ORIGIN


async def test_who_asked_for_a_close_gets_it(web: Inside) -> None:
    web.close()
    async with web.connect() as raw:
        raw.send(asks("POST /v1/events", EVENT, b"connection: close\r\n"))
        check_refusal(*await answer(raw))
        assert await raw.ended() == b""


async def test_a_handshake_is_refused_while_what_is_open_goes_on(web: Inside) -> None:
    async with web.connect() as raw, WsClient.open(cast("Hub", Reached(web))) as ws:
        await ws.join("over.2")
        web.close()
        raw.send(request(**auth()))
        check_refusal(*await answer(raw))
        assert await raw.ended() == b""
        refused = await ws.ask("broadcast", room="over.2", data=1)
        assert (refused["type"], refused["code"]) == ("error", "OVERLOADED")
        web.open()
        assert (await ws.ask("broadcast", room="over.2", data=2))["type"] == "ack"
        assert (await ws.next("event"))["event"]["data"] == 2


class Reached:
    """As a Hub, for clients that only want its address."""

    def __init__(self, web: Inside) -> None:
        self.ports = web.ports

    def url(self, path: str = "", index: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[index]}{path}"

    def ws_url(self, index: int = 0) -> str:
        return f"ws://127.0.0.1:{self.ports[index]}/v1/ws"


async def test_more_than_can_be_refused_at_once_stand_in_line_and_all_are_answered(web: Inside) -> None:
    web.close()
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(web.connect()) for _ in range(2 * REFUSALS + 50)]
        for raw in raws:
            raw.send(PUBLISH)
        for got in await asyncio.gather(*map(answer, raws)):
            check_refusal(*got)


async def test_who_stands_in_line_comes_in_as_soon_as_something_else_is_done_and_in_turn(web: Inside) -> None:
    web.close(longest=60)
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(web.connect()) for _ in range(20)]
        for n, raw in enumerate(raws):
            raw.send(asks("POST /v1/events", json.dumps({"topic": "line.1", "type": "t", "data": n}).encode()))
            await eventually(lambda n=n: len(web.door.requests) == n + 1, "it stands in line")
        before = web.appended()
        assert before == web.appended(), "nothing of it is done"
        web.open(1)  # the next one comes in when the one before is done, not at some tick
        for raw in raws:
            assert (await answer(raw))[0] == 202
        raws[0].send(asks("GET /v1/events?topic=line.1&limit=100"))
        listed = (await answer(raws[0]))[2]["data"]
    assert [event["data"] for event in listed] == list(range(20))


async def test_nobody_overtakes_who_stands_in_line_for_the_same_and_each_kind_has_its_own(web: Inside) -> None:
    web.close(longest=60)
    async with web.connect() as first, web.connect() as second:
        first.send(asks("GET /v1/stream?topic=over.1"))
        await eventually(lambda: len(web.door.connects) == 1, "it stands in line")
        web.door.requests.limit = NO_LIMIT
        second.send(PUBLISH)
        assert (await answer(second))[0] == 202, "requests don't wait for connects"
        web.door.connects.limit = NO_LIMIT  # before the next tick somebody else comes
        second.send(asks("GET /v1/stream?topic=over.1"))
        assert (await first.head())[0] == (await second.head())[0] == 200


async def test_who_has_stood_for_too_long_is_refused_and_not_before(web: Inside) -> None:
    web.close(longest=0.3)
    loop = asyncio.get_running_loop()
    async with web.connect() as raw:
        began = loop.time()
        raw.send(PUBLISH)
        check_refusal(*await answer(raw))
        assert loop.time() - began >= 0.3
        web.open()
        raw.send(PUBLISH)
        assert (await answer(raw))[0] == 202, "the connection goes on"


async def test_who_goes_away_while_it_stands_in_line_harms_nobody(web: Inside) -> None:
    web.close(longest=60)
    async with web.connect() as gone, web.connect() as raw:
        gone.send(PUBLISH)
        await eventually(lambda: len(web.door.requests) == 1, "it stands in line")
        gone.writer.transport.abort()
        raw.send(PUBLISH)
        await eventually(lambda: len(web.door.requests) == 2, "so does the next")
        web.open()
        assert (await answer(raw))[0] == 202


async def test_a_poll_that_waits_is_not_in_progress(web: Inside) -> None:
    async with web.connect() as raw:
        raw.send(asks("GET /v1/poll?topic=over.3&wait=20"))
        async with web.connect() as other:
            other.send(PUBLISH)
            assert (await answer(other))[0] == 202
        await eventually(lambda: web.door.requests.busy == 0, "the poll only waits")


# -- a real flood ------------------------------------------------------------------------------------------------------

FLOODERS = 300
STOPPED, RUNNING = 0.2, 0.015
"""Seconds of what the flooded process gets of a core, so that it is too slow on any machine, beside any client."""


async def test_a_flood_is_refused_in_part_while_health_and_live_events_go_on_and_nothing_accepted_is_lost() -> None:
    with Hub(web=2, HUB_SHED_LAG="0.01") as hub:
        async with hub.client(1) as client:
            events = [{"topic": "heavy.1", "type": "test.event", "data": "x" * 100}] * 50
            assert (await client.post("/v1/events", json=events)).status_code == 202
        stop = asyncio.Event()
        statuses: dict[int, int] = {}
        accepted: list[str] = []
        floods = [asyncio.create_task(flood(hub, n, stop, statuses, accepted)) for n in range(FLOODERS)]
        floods.append(asyncio.create_task(starve(hub, stop)))
        try:
            async with Bystander.of(PastTheFlood(hub), "quiet.1") as bystander, hub.client() as probe:
                await eventually(
                    lambda: statuses.get(503, 0) > 40 and len(accepted) > 20, "some are refused, some not", 60
                )
                for _ in range(5):
                    for path in ("/health/live", "/health/ready"):
                        assert (await probe.get(path)).status_code == 200
                    await bystander.takes()
        finally:
            stop.set()
            await asyncio.gather(*floods)
        assert statuses.keys() <= {200, 202, 503}
        async with hub.client() as client:
            await eventually(lambda: served(client), "it serves all again when the flood is over")
            page = (await client.get("/v1/events", params={"topic": "flood.1", "limit": 500, "order": "desc"})).json()
        kept = {event["id"] for event in page["data"]}
        assert set(accepted[-200:]) <= kept
        logged = [line for line in hub.webs[0].log.splitlines() if "requests_refused" in line]
        assert logged
        assert len(logged) < sum(statuses.values()) / 10, "the log isn't flooded too"
        assert sum(json.loads(line)["count"] for line in logged) > 30


class PastTheFlood(Hub):
    """The flooded hub for who listens there and publishes to the other process."""

    def __init__(self, hub: Hub) -> None:  # nothing of its own is started
        self.ports = hub.ports

    def client(self, index: int = 0, key: str = "") -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url("", 1), headers=auth(), timeout=10)


async def starve(hub: Hub, stop: asyncio.Event) -> None:
    """Give the process a part of a core, as a host does that has promised it to others too."""
    while not stop.is_set():
        hub.webs[0].signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED)
        hub.webs[0].signal(signal.SIGCONT)
        await asyncio.sleep(RUNNING)


async def flood(hub: Hub, number: int, stop: asyncio.Event, statuses: dict[int, int], accepted: list[str]) -> None:
    """Ask on and on, at once after each answer: one in four lists, the others publish."""
    event = json.dumps({"topic": "flood.1", "type": "test.event", "data": number}).encode()
    sent = asks("POST /v1/events", event) if number % 4 else asks("GET /v1/events?topic=heavy.1&limit=50")
    async with RawWs.connect(hub) as raw:
        while not stop.is_set():
            raw.send(sent)
            status, headers = await raw.head()
            body = await raw.reader.readexactly(int(headers["content-length"]))
            statuses[status] = statuses.get(status, 0) + 1
            if status == 202:
                accepted.append(json.loads(body)["data"]["id"])


async def served(client: httpx.AsyncClient) -> bool:
    answers = await asyncio.gather(*(client.get("/v1/keys") for _ in range(10)))
    return all(one.status_code == 200 for one in answers)
