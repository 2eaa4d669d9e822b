"""A browser's own EventSource, WebSocket and fetch, on a page of another origin (make test-clients; needs Chromium)."""

import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import Browser, Page

from tests.clients.resume import RETURNS, misses_nothing
from tests.support.cut import Line
from tests.support.hub import KEY, Hub, token
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page comes from."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(Path(__file__).parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def open_hub(origin: str) -> Iterator[Hub]:
    """A hub that the page may call."""
    with Hub(web=2, HUB_CORS_ORIGINS=origin) as running:
        yield running


@contextlib.asynccontextmanager
async def page_at(browser: Browser, origin: str, **query: str) -> AsyncGenerator[Page]:
    page = await browser.new_page()
    await page.goto(f"{origin}/page.html?{urlencode(query)}")
    yield page
    await page.close()


@pytest.mark.parametrize("how", ["by fetch", "by its web socket"])
async def test_event_source_and_web_socket_publish_are_cut_and_resume(
    open_hub: Hub, browser: Browser, origin: str, topic: str, how: str
) -> None:
    async with Line.to(open_hub.ports[0]) as line:
        badge = token("ann", subscribe=[topic], publish=[topic])
        async with page_at(browser, origin, hub=line.url, topic=topic, token=badge) as page:
            await page.evaluate("() => { listen(); converse(); }")
            await eventually(lambda: page.evaluate("sse.connected.length && ws.connected.length"), "both are connected")
            if how == "by fetch":
                assert await page.evaluate("(key) => publish(key, 'hello')", KEY) == 202
            else:
                await page.evaluate("broadcast('hello')")
                await eventually(lambda: page.evaluate("ws.acks.length"), "it is acknowledged")

            async def both() -> list[Any]:
                got = await page.evaluate("[sse.events, ws.events]")
                return min(got, key=len)

            await misses_nothing(open_hub, line, topic, both)
            sse, ws = await page.evaluate("[sse, ws]")
            assert sse["events"] == ws["events"]
            assert sse["connected"] == ws["connected"] == [None] + [True] * RETURNS
            assert sse["failed"] == ws["failed"] == []
            *cut, told = [code for code, _ in ws["closes"]]  # trying in vain is a close too
            assert set(cut) == {1006}
            assert told == 1012


async def test_a_page_is_told_why_its_web_socket_was_refused(
    open_hub: Hub, browser: Browser, origin: str, topic: str
) -> None:
    async with page_at(browser, origin, hub=open_hub.url(), topic=topic, token="nonsense") as page:
        await page.evaluate("converse()")
        await eventually(lambda: page.evaluate("ws.closes.length"), "it is closed")
        ((code, reason),) = await page.evaluate("ws.closes")
        assert code == 4001
        assert reason


async def test_a_page_of_an_origin_that_is_not_allowed_can_neither_publish_nor_stream(
    hub: Hub, client: httpx.AsyncClient, browser: Browser, origin: str, topic: str
) -> None:
    granted = token("ann", subscribe=[topic])
    async with page_at(browser, origin, hub=hub.url(), topic=topic, token=granted) as page:
        said = await page.evaluate("(key) => publish(key, 1).catch((e) => e.name)", KEY)
        assert said == "TypeError"
        state = await page.evaluate(
            """() => new Promise((resolve) => {
                const stream = new EventSource(`${hub}/v1/stream?topic=${topic}&token=${token}`);
                stream.onopen = () => resolve("open");
                stream.onerror = () => resolve(stream.readyState);
            })"""
        )
        assert state == 2  # closed for good
    assert (await client.get("/v1/events", params={"topic": topic})).json()["data"] == []
