"""The cookie `hub_token` on streams and WebSockets: only on pages of this host, or of an origin that is listed."""

from collections.abc import Iterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.hub import KEY, Hub, auth, token

LISTED = "https://app.example"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(HUB_CORS_ORIGINS=LISTED) as running:
        yield running


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Hub]:
    with Hub(HUB_CORS_ORIGINS="*") as running:
        yield running


async def stream(hub: Hub, headers: dict[str, str], query: str = "") -> httpx.Response:
    """The answer's head; of a stream that begins nothing more is read."""
    async with (
        httpx.AsyncClient() as page,
        page.stream("GET", hub.url(f"/v1/stream?topic=room.a{query}"), headers=headers) as response,
    ):
        if response.status_code != 200:
            await response.aread()
        return response


async def close_code(hub: Hub, headers: dict[str, str]) -> int | None:
    """What a WebSocket is closed with; None if it is connected."""
    async with connect(hub.ws_url(), additional_headers=headers) as ws:
        try:
            assert '"connected"' in str(await ws.recv())
        except ConnectionClosed:
            return ws.close_code
        return None


def cookie(**headers: str) -> dict[str, str]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"cookie": f"theme=dark; hub_token={token('ann', subscribe=['room.*'])}", **given}


async def test_a_page_of_a_listed_origin_is_let_in_and_may_read_the_answer(hub: Hub) -> None:
    response = await stream(hub, cookie(origin=LISTED))
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == LISTED
    assert response.headers["access-control-allow-credentials"] == "true"
    assert await close_code(hub, cookie(origin=LISTED)) is None


async def test_a_page_of_the_hubs_own_host_is_let_in(hub: Hub) -> None:
    own = hub.url()
    assert (await stream(hub, cookie(origin=own))).status_code == 200
    assert await close_code(hub, cookie(origin=own)) is None
    # A browser names no origin with an EventSource of the page's own, but says that it is one.
    assert (await stream(hub, cookie(sec_fetch_site="same-origin"))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "https://app.example.evil.example"},
        {"origin": "http://app.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "*"},
        {"origin": "https://evil.example", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
    ],
    ids=str,
)
async def test_any_other_page_is_refused(hub: Hub, headers: dict[str, str]) -> None:
    refused = await stream(hub, cookie(**headers))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert await close_code(hub, cookie(**headers)) == 4003


async def test_origins_that_are_all_allowed_list_none(open_to_all: Hub) -> None:
    assert (await stream(open_to_all, cookie(origin="https://evil.example"))).status_code == 403
    assert await close_code(open_to_all, cookie(origin="https://evil.example")) == 4003
    assert await close_code(open_to_all, cookie(origin="*")) == 4003
    assert (await stream(open_to_all, cookie(origin=open_to_all.url()))).status_code == 200


async def test_a_cookie_holds_a_token_and_other_credentials_go_before_it(hub: Hub) -> None:
    for wrong in (KEY, "nonsense", "", token("ann", ttl=-5)):
        headers = {"cookie": f"hub_token={wrong}", "origin": LISTED}
        assert (await stream(hub, headers)).status_code == 401
    foreign = cookie(origin="https://evil.example")
    assert (await stream(hub, {**foreign, "authorization": f"Bearer {KEY}"})).status_code == 200
    assert (await stream(hub, foreign, f"&token={token('ann', subscribe=['room.*'])}")).status_code == 200
    assert await close_code(hub, {**foreign, "authorization": f"Bearer {KEY}"}) is None


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        (KEY, "&token=wrong&ticket=wrong", 200),
        ("wrong", f"&token={KEY}", 401),
        (None, f"&token={KEY}&ticket=wrong", 200),
        (None, f"&token=wrong&ticket={KEY}", 401),
        (None, f"&ticket={KEY}", 401),
    ],
)
async def test_the_header_counts_before_the_token_of_the_url_and_that_before_its_ticket(
    hub: Hub, header: str | None, query: str, status: int
) -> None:
    headers = {} if header is None else auth(header)
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        assert (await client.get(f"/v1/poll?topic=a&wait=0{query}", headers=headers)).status_code == status


async def test_a_cookie_opens_nothing_else(hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.url(), headers=cookie(origin=LISTED)) as page:
        for path in ("/v1/events", "/v1/poll?topic=room.a&wait=0", "/v1/keys"):
            assert (await page.get(path)).status_code == 401
        assert (await page.post("/v1/events", json={"topic": "room.a", "type": "a"})).status_code == 401
        assert (await page.post("/v1/tickets", json={})).status_code == 401
