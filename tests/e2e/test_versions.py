"""Versions of the API: chosen by path, header or query, refused when there is none such, and how one is retired."""

from collections.abc import Iterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.hub import Hub, HubProcess, auth, free_port
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/events", {}),
        ("/v1/events", {"api-version": "1"}),
        ("/v1/events?version=1", {}),
        ("/events", {"api-version": "1"}),
        ("/events?version=1&limit=3", {}),
        ("/events?version=v1", {"api-version": "1"}),
    ],
)
async def test_a_version_is_chosen_by_path_header_or_query(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    response = await client.get(path, headers=headers)
    assert (response.status_code, response.headers["api-version"]) == (200, "1")
    assert "deprecation" not in response.headers


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2/events", {}),
        ("/v0/health/live", {}),
        ("/events", {"api-version": "2026-01-01"}),
        ("/v1/events", {"api-version": "2"}),
        ("/v1/events?version=2", {}),
        ("/events?version=", {}),
    ],
)
async def test_a_version_that_does_not_exist_is_refused(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    response = await client.get(path, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "VERSION_UNKNOWN")
    assert "1" in response.json()["error"]["message"]


async def test_what_has_no_version_takes_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live", headers={"api-version": "7"})).status_code == 200
    assert (await client.get("/events")).status_code == 404


@pytest.fixture(scope="module")
def retired(hub: Hub) -> Iterator[str]:
    """The URL of a web process of the future (see tests/support/future.py)."""
    port = free_port()
    arguments = ["uvicorn", "--factory", "tests.support.future:asgi", "--host", "127.0.0.1", "--port", str(port)]
    process = HubProcess(arguments, hub.environment)
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{url}/health/live"), "the process serves")
    yield url
    process.close()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def test_a_retired_version_says_so_and_when_it_ends(retired: str) -> None:
    for path, headers in (("/v1/events", {}), ("/events", {"api-version": "1"})):
        response = httpx.get(retired + path, headers={**auth(), **headers})
        assert response.status_code == 200
        assert response.headers["deprecation"] == "@1767225600"
        assert response.headers["sunset"] == "Fri, 01 Jan 2100 00:00:00 GMT"
        assert 'rel="deprecation"' in response.headers["link"]
        assert 'rel="sunset"' in response.headers["link"]
        assert '</v2>; rel="successor-version"' in response.headers["link"]


def test_a_version_that_has_ended_is_gone(retired: str) -> None:
    response = httpx.get(f"{retired}/v0/events")
    assert (response.status_code, response.json()["error"]["code"]) == (410, "VERSION_GONE")
    assert "version 1" in response.json()["error"]["message"]


@pytest.mark.parametrize(("path", "header"), [("/v2/ws", None), ("/v1/ws", "2"), ("/ws?version=7", None)])
async def test_a_handshake_of_a_version_that_does_not_exist_is_told_so(hub: Hub, path: str, header: str | None) -> None:
    named = {} if header is None else {"api-version": header}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(hub.ws_url().replace("/v1/ws", path), additional_headers={**auth(), **named}):
            pass
    answer = refused.value.response
    assert answer.status_code == 400
    assert answer.body is not None
    assert b'"code":"VERSION_UNKNOWN"' in answer.body


async def test_a_handshake_may_choose_its_version_by_the_header(hub: Hub) -> None:
    url = hub.ws_url().replace("/v1/ws", "/ws")
    async with connect(url, additional_headers={**auth(), "api-version": "1"}) as ws:
        assert ws.response is not None
        assert ws.response.headers["api-version"] == "1"
