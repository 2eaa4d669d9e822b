"""The hub's own pages in Chromium: /docs, /dashboard, and the portal behind a link (make test-clients).

Each page is used as people do, with nothing but the hub to load from: a request to any other host, an error in the
console, text of a user's that is taken for markup, or what shuts people out by axe-core's rules fails the test.
"""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.clients.accessible import assert_accessible
from tests.support.hub import KEY, Hub, publish
from tests.support.receiver import Receiver
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Pages ask every few seconds, so what they come to show takes longer than the library's 5 s."""
    expect.set_options(timeout=20_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    with Hub(web=1, workers=1) as running:
        yield running


@pytest.fixture
async def client(served: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client() as opened:
        yield opened


@pytest.fixture
async def site() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@contextlib.asynccontextmanager
async def opened(browser: Browser, hub: Hub, path: str, refusals: int = 0) -> AsyncGenerator[Page]:
    """A page that must stay clean. Chromium writes an error for each answer of 4xx: so many `refusals` are meant; -1:
    any number, and lost connections too."""
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(15_000)
    faults: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(hub.url("/")) else elsewhere.append(request.url))
    await page.goto(path if path.startswith("http") else hub.url(path))
    title = await page.title()
    yield page
    assert await page.title() == title
    assert await page.locator("script:not([src])").count() == 0
    await page.close()
    assert elsewhere == []
    if refusals < 0:
        assert all("status of 4" in fault or "net::ERR_" in fault for fault in faults), faults
        return
    assert all("status of 4" in fault for fault in faults), faults
    assert len(faults) == refusals, faults


async def test_the_documents_show_and_try_an_operation(browser: Browser, served: Hub) -> None:
    async with opened(browser, served, "/docs") as page:
        await expect(page.locator("#about")).to_contain_text("Version")
        operations = page.locator("details")
        for n in range(await operations.count()):
            await operations.nth(n).locator("summary").click()
            await expect(operations.nth(n).get_by_role("heading", name="Answers")).to_be_visible()
        await assert_accessible(page)
        await page.get_by_label("API key").fill(KEY)
        publishing = page.locator("details#publishEvents")
        await publishing.get_by_role("button", name="Send").click()
        await expect(publishing.locator("output")).to_contain_text("202")
        await page.get_by_label("Find an operation").fill("rotate")
        await expect(page.locator("details:visible")).to_have_count(1)


async def test_a_tenant_looks_after_its_endpoint_in_the_portal(
    browser: Browser, served: Hub, client: httpx.AsyncClient, site: Receiver
) -> None:
    url = (await client.post("/v1/portal", json={"ttl": 600})).json()["data"]["url"]
    secret = url.partition("#token=")[2]
    async with opened(browser, served, url, refusals=1) as page:
        assert secret not in page.url
        await page.get_by_role("button", name="New endpoint").click()
        form = page.get_by_role("dialog")
        await assert_accessible(page)
        await form.get_by_label("URL").fill(site.url("/hook"))
        await form.get_by_label("Description").fill(HOSTILE)
        await form.get_by_label("Event types").fill("portal.*")
        await form.get_by_role("button", name="Create").click()
        await expect(page.locator("#endpoint-head")).to_have_text(site.url("/hook"))
        await expect(page.get_by_text(HOSTILE)).to_be_visible()

        await page.get_by_role("button", name="Send test event").click()
        rows = page.locator("#deliveries tbody > tr[id]")
        await expect(rows.first).to_contain_text("succeeded")
        await expect(page.locator("#deliveries tr.inner")).to_contain_text("Attempt 1 200")
        assert site.got[0].event["type"] == "hub.test"
        await publish(client, "portal.room", HOSTILE, type="portal.made")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("portal.made")
        await rows.first.get_by_role("button", name="Retry").click()
        await site.until(3, "/hook")
        for n in range(20):
            await publish(client, "portal.room", n, type="portal.made")
        await expect(rows).to_have_count(20)  # a page
        await page.get_by_role("button", name="Older").click()
        await expect(rows).to_have_count(22)
        await expect(rows.last).to_contain_text("test event")

        await page.get_by_role("button", name="Reveal").click()
        shown = await page.locator("pre", has_text="whsec_").inner_text()
        (one,) = (await client.get("/v1/endpoints")).json()["data"]
        at = f"/v1/endpoints/{one['id']}"
        assert (await client.get(f"{at}/secret")).json()["data"]["secret"] == shown
        await page.get_by_role("button", name="Rotate").click()
        await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
        await expect(page.locator("pre", has_text="whsec_")).not_to_have_text(shown)
        await page.get_by_role("button", name="Recover failed").click()
        await expect(page.locator("#jobs-head")).to_be_visible()
        await expect(page.get_by_text("completed")).to_be_visible()
        await assert_accessible(page)

        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("paused", exact=True)).to_be_visible()
        assert (await client.get(at)).json()["data"]["enabled"] is False
        await page.get_by_role("button", name="Edit").click()
        await form.get_by_label("URL").fill("http://10.0.0.1/")
        await form.get_by_role("button", name="Save").click()
        await expect(form.get_by_role("alert")).to_contain_text("10.0.0.1")
        await page.keyboard.press("Escape")
        await shape(page, {"Filter": "data.total > `1`", "Transform": "{sum: data.total, html: data.text}",
                           "Headers": f"X-Team: blue\n\nX-Odd: {HOSTILE}", "At once": "3", "Backlog": "7"})  # fmt: skip
        await expect(page.locator("code", has_text="data.total > `1`")).to_be_visible()
        kept = (await client.get(at)).json()["data"]
        assert (kept["filter"], kept["headers"]) == ("data.total > `1`", {"X-Team": "blue", "X-Odd": HOSTILE})
        assert (kept["format"], kept["max_in_flight"], kept["max_backlog"]) == ("cloudevents-binary", 3, 7)
        assert kept["types"] == ["portal.*"]
        await page.get_by_role("button", name="Edit").click()
        await expect(form.get_by_label("Headers")).to_have_value(f"X-Team: blue\nX-Odd: {HOSTILE}")
        await form.get_by_label("Headers").fill("no colon")
        await form.get_by_role("button", name="Save").click()
        await expect(form.get_by_role("alert")).to_contain_text("one per line")
        await form.get_by_label("Headers").fill("")
        await form.get_by_label("Filter").fill("")
        await form.get_by_role("button", name="Save").click()
        await expect(form).to_have_count(0)
        kept = (await client.get(at)).json()["data"]
        assert (kept["filter"], kept["headers"], kept["handshake"]) == (None, {}, False)
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("No endpoint yet.")).to_be_visible()
        assert (await client.get("/v1/endpoints")).json()["data"] == []


async def shape(page: Page, values: dict[str, str]) -> None:
    """Fill in what the form has under "More", and save it."""
    form = page.get_by_role("dialog")
    await page.get_by_role("button", name="Edit").click()
    await form.get_by_text("More", exact=True).click()
    await assert_accessible(page)
    for label, value in values.items():
        await form.get_by_label(label).fill(value)
    await form.get_by_label("Format").select_option("cloudevents-binary")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_have_count(0)


async def test_a_link_that_was_revoked_says_that_it_has_ended(
    browser: Browser, served: Hub, client: httpx.AsyncClient
) -> None:
    made = (await client.post("/v1/portal", json={})).json()["data"]
    (await client.post("/v1/tokens/revoke", json={"jti": made["jti"]})).raise_for_status()
    async with opened(browser, served, made["url"], refusals=1) as page:
        await expect(page.get_by_text("This link has ended.")).to_be_visible()
    async with opened(browser, served, "/portal") as page:
        await expect(page.get_by_text("This page opens by a link")).to_be_visible()


async def test_the_dashboard_shows_events_as_they_come(
    browser: Browser, served: Hub, client: httpx.AsyncClient, site: Receiver
) -> None:
    made = await client.post(
        "/v1/endpoints", json={"url": site.url("/seen"), "description": HOSTILE, "topics": ["dash.*"]}
    )
    assert made.status_code == 201
    async with opened(browser, served, "/dashboard", refusals=1) as page:
        await assert_accessible(page)
        await page.get_by_label("API key").fill("no-key-of-this-hub")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not valid")
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page.locator("#tail-state")).to_have_text("live")
        await expect(page.locator("#endpoints")).to_contain_text(HOSTILE)

        await publish(client, "dash.room", {"text": HOSTILE}, type="dash.made")
        line = page.locator("#tail details").first
        await expect(line).to_contain_text("dash.made")
        await expect(line).to_contain_text(json.dumps(HOSTILE)[1:30])
        await line.locator("summary").click()
        await expect(line.locator("pre")).to_contain_text("<script>")
        await assert_accessible(page)

        await page.get_by_label("Topic pattern").fill("other.*")
        await page.get_by_role("button", name="Watch").click()
        await expect(page.locator("#tail-state")).to_have_text("live")
        await publish(client, "dash.room", "not watched")
        await page.get_by_label("Topic", exact=True).fill("other.room")
        await page.get_by_role("button", name="Publish").click()
        await expect(page.locator("#tail details")).to_have_count(1)
        await expect(page.locator("#tail details")).to_contain_text("other.room")

        async def told() -> Any:
            return "0 / s" not in await page.locator("#figures").inner_text()

        await eventually(told, "the rate is told")
        await expect(page.locator("#endpoints tbody tr").first).to_contain_text("100 %")
        assert KEY not in page.url
        assert await page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
        await page.get_by_role("button", name="Forget the key").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        assert await page.evaluate("sessionStorage.length") == 0


async def test_who_may_see_little_is_told_so_and_a_lost_hub_too(browser: Browser) -> None:
    with Hub(web=1) as hub:
        async with hub.client() as root, opened(browser, hub, "/dashboard", refusals=-1) as page:
            key = (await root.post("/v1/keys", json={"role": "subscriber"})).json()["data"]["key"]
            await page.get_by_label("API key").fill(key)
            await page.keyboard.press("Enter")
            await expect(page.locator("#endpoints")).to_contain_text("lacks the scope endpoints:read")
            await expect(page.locator("#tail-state")).to_have_text("live")
            hub.webs[0].kill()
            await expect(page.locator("#tail-state")).to_contain_text("connection lost")
            await expect(page.locator("#notices")).to_contain_text("can't be reached")
            hub.restart_web()
            await expect(page.locator("#tail-state")).to_have_text("live")
