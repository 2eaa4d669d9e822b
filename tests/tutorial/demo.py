"""The whole job in one terminal, in under 20 seconds: `make demo`.

It starts a real `hub dev` on a temporary data folder and a free port, and plays publisher, browser and partner against
it. Whatever isn't as promised ends it with exit code 1 and the reason. Nothing is left behind, after Ctrl-C neither.
"""

import asyncio
import contextlib
import itertools
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.markup import escape
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.support.live import SseClient, WsClient
from tests.support.processes import clean_environment
from tests.support.receiver import Got, Receiver, answer

START_WITHIN: Final = 30.0
STOP_WITHIN: Final = 20.0
SCHEDULE: Final = (0.5, 1.5)
"""Seconds before the second and the third attempt. Small, for a demo; the default schedule spans about three days."""
STOPPED_BY: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

console = Console(highlight=False, soft_wrap=True)


class Failed(Exception):
    """A step did not go as promised; the message says how."""


BROKEN: Final = (
    Failed, AssertionError, EOFError, OSError, WebSocketException, WebhookVerificationError, httpx.HTTPError,
)  # fmt: skip
"""How a step can end that is not as promised; a wait in vain is an OSError or an AssertionError."""


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def title(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/]")


def done(text: str) -> None:
    console.print(f"  [green]✓[/] {text}")


# -- the hub -----------------------------------------------------------------------------------------------------------


class Api:
    """The HTTP API of the demo's hub, with its API key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(base_url=url, headers=self.headers, timeout=10)

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: str) -> Any:
        return _data(await self._http.get(path, params=query))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return _data(await self._http.post(path, json=body))

    async def publish(self, kind: str, data: Any) -> str:
        """Publish one event to the demo's topic; its id."""
        answered = await self.post("/v1/events", {"topic": "orders.42", "type": kind, "data": data})
        return str(answered["id"])


def _data(response: httpx.Response) -> Any:
    check(response.is_success, f"{response.request.method} {response.request.url.path} was answered {response.text}")
    return response.json()["data"]


@contextlib.asynccontextmanager
async def running_hub(folder: Path) -> AsyncGenerator[Api]:
    """`hub dev` as a child process, until the end of the block; then it is asked to stop, and must say 0."""
    log = folder / "hub.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "dev", "--port", "0", "--data-dir", str(folder / "data"),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=clean_environment({"HUB_LOG_FORMAT": "json"}), cwd=Path(__file__).parents[2],
            start_new_session=True,  # Ctrl-C is for the demo alone, which then stops the hub in order
        )  # fmt: skip
    try:
        api = Api(*await _greeting(process))
        try:
            yield api
        finally:
            await api.close()
    except BaseException as exc:
        if not isinstance(exc, asyncio.CancelledError):
            console.print(f"\n[dim]The hub's last words:\n{escape(_last_lines(log))}[/]")
        raise
    finally:
        code = await _stop(process)
    check(code == 0, f"the hub ended with exit code {code}:\n{_last_lines(log)}")


async def _greeting(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """URL and API key, as `hub dev` prints them when all its processes are ready."""
    assert process.stdout is not None
    printed = ""
    async with asyncio.timeout(START_WITHIN):
        while line := await process.stdout.readline():
            printed += line.decode()
            if found := re.search(r"^Hub is at (\S+)\nAPI key: (\S+)$", printed, re.MULTILINE):
                return found[1], found[2]
    raise Failed("hub dev ended before it was ready")


async def _stop(process: asyncio.subprocess.Process) -> int:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


# -- the clients -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def browser(api: Api, token: str) -> AsyncGenerator[WsClient]:
    """A WebSocket, opened as a browser does it: with a token in the URL."""
    url = f"{api.url.replace('http', 'ws', 1)}/v1/ws?token={token}"
    async with connect(url, subprotocols=["hub.v1.json"], compression=None) as connection:  # pyright: ignore[reportArgumentType] - a NewType of str
        client = WsClient(connection)
        await client.next("connected")
        yield client


@contextlib.asynccontextmanager
async def stream(api: Api, last_event_id: str | None = None) -> AsyncGenerator[SseClient]:
    """A stream of server-sent events, past its `hub.connected`."""
    headers = api.headers if last_event_id is None else {**api.headers, "last-event-id": last_event_id}
    async with (
        httpx.AsyncClient(timeout=10) as http,
        http.stream("GET", f"{api.url}/v1/stream?topic=orders.**", headers=headers) as response,
    ):
        check(response.status_code == 200, f"GET /v1/stream was answered {response.status_code}")
        client = SseClient(response)
        await client.event()
        yield client


# -- the steps ---------------------------------------------------------------------------------------------------------


async def live(api: Api, token: str) -> tuple[str, str]:
    """Both transports get what is published; returns the cursors at which they left."""
    title("1. One event, published once: over WebSocket and over server-sent events")
    async with browser(api, token) as ws, stream(api) as sse:
        await ws.join("orders.**")
        cursor = ""
        for total in (7, 8, 9):
            began = time.perf_counter()
            published = await api.publish("order.created", {"total": total})
            message = await ws.next("event")
            (event,) = await sse.data(1)
            took = (time.perf_counter() - began) * 1000
            check(message["event"]["id"] == published, "the WebSocket got another event than the one published")
            check(event == message["event"], "the stream got another event than the WebSocket")
            check(message["cursor"] == sse.id, "the two transports carry different cursors")
            cursor = message["cursor"]
            done(f"order.created {event['data']} reached both within {took:.1f} ms of the request")
        assert sse.id is not None
        return cursor, sse.id


async def webhook(api: Api, receiver: Receiver) -> str:
    """A partner fails twice, and gets the event at the third attempt, signed; returns the event's id."""
    title("2. A signed webhook, retried until the partner is well again")
    receiver.answers["/hook"] = [answer(500), answer(500)]
    endpoint = await api.post(
        "/v1/endpoints", {"url": receiver.url(), "types": ["order.paid"], "retry": {"schedule": SCHEDULE}}
    )
    done(f"endpoint {endpoint['id']}, retries after {' s and '.join(map(str, SCHEDULE))} s or a little more")
    published = await api.publish("order.paid", {"total": 7})
    attempts: list[Got] = []
    for number in (1, 2, 3):
        attempts = await receiver.until(number)
        attempt = attempts[-1]
        gap = f", {attempt.at - attempts[-2].at:.2f} s after the one before" if number > 1 else ""
        console.print(f"  [green]✓[/] attempt {number}{gap}: answered {'200' if number == 3 else '500'}")
        check(attempt.headers["webhook-id"] == published, "an attempt carries another webhook-id than the event's")
        _verify(endpoint["secret"], attempt)
    first, second = (later.at - earlier.at for earlier, later in itertools.pairwise(attempts))
    check(SCHEDULE[0] <= first < second >= SCHEDULE[1], f"the gaps {first:.2f} s and {second:.2f} s break the schedule")
    done("each signature verifies with the package standardwebhooks, and not for a changed body")
    shown = await _succeeded(api, published)
    check(shown["attempt_count"] == 3, f"the hub shows {shown['attempt_count']} attempts instead of 3")
    done(f"delivery {shown['id']}: {shown['status']} after {shown['attempt_count']} attempts")
    return published


def _verify(secret: str, attempt: Got) -> None:
    verifier = Webhook(secret)
    verifier.verify(attempt.body.decode(), attempt.headers)
    try:
        verifier.verify(attempt.body.decode().replace("7", "700"), attempt.headers)
    except WebhookVerificationError:
        return
    raise Failed("a changed body was taken for genuine")


async def _succeeded(api: Api, event: str) -> dict[str, Any]:
    """The event's delivery, once the last answer is recorded."""
    async with asyncio.timeout(5):
        while True:
            (delivery,) = await api.get("/v1/deliveries", event=event)
            if delivery["status"] != "pending":
                return delivery
            await asyncio.sleep(0.02)


async def resume(api: Api, token: str, ws_cursor: str, sse_cursor: str, paid: str) -> None:
    """What was published meanwhile is replayed to both, in order, each event once."""
    title("3. Away for a while: the cursor brings what was missed")
    missed = [paid, *[await api.publish("order.shipped", {"parcel": number}) for number in (1, 2, 3)]]
    done("both clients were gone while an order was paid and three parcels went out")
    async with browser(api, token) as ws, stream(api, sse_cursor) as sse:
        joined = await ws.join("orders.**", after=ws_cursor)
        check(joined.get("recovered") is True, f"the hub could not recover everything: {joined}")
        replayed = [message["event"]["id"] for message in await ws.events(4)]
        streamed = [event["id"] for event in await sse.data(4)]
        check(replayed == missed, f"the WebSocket got {replayed} instead of {missed}")
        check(streamed == replayed, f"the stream got {streamed}, the WebSocket {replayed}")
        done("recovered: all 4 events, in order, each once, on both transports")
        published = await api.publish("order.closed", {})
        message = await ws.next("event")
        check(message["event"]["id"] == published, "the live event did not follow the replayed ones")
        done("and live from there on")


async def play() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hub-demo-") as folder:
        title("0. hub dev: web, worker and an embedded store, on a free port")
        async with running_hub(Path(folder)) as api, Receiver() as receiver:
            done(f"ready at {api.url} after {time.monotonic() - began:.1f} s")
            token = (await api.post("/v1/tokens", {"user": "ann", "subscribe": ["orders.**"], "ttl": 60}))["token"]
            cursors = await live(api, token)
            paid = await webhook(api, receiver)
            await resume(api, token, *cursors, paid)
            title("4. Stop")
        done("the hub ended with exit code 0")
    console.print(f"\n[bold green]All as promised, in {time.monotonic() - began:.1f} s.[/]")


async def run() -> int:
    """The exit code: 0, 1 when a step failed, 128 + N after signal N."""
    task = asyncio.ensure_future(play())
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not received:  # a second Ctrl-C must not cut the hub's own stop short
            console.print("\n[yellow]Stopping the hub …[/]")
            task.cancel()
        received.append(number)

    for number in STOPPED_BY:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        return STOPPED_BY[received[0]] if received else 1
    except BROKEN as exc:
        console.print(f"\n[bold red]✗ The demo failed:[/] {escape(str(exc) or type(exc).__name__)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
