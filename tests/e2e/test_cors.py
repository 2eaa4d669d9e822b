"""Pages of other origins: which may ask, with which headers, and which headers of an answer they may read."""

from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.support.hub import Hub, auth

PAGE: Final = {"origin": "https://app.example"}
SENT: Final = (
    "accept", "api-version", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match",
    "last-event-id", "x-request-id",
)  # fmt: skip
"""What clients of this API send."""
READ: Final = {
    "API-Version", "Allow", "Deprecation", "ETag", "Idempotency-Replay", "Link", "RateLimit", "RateLimit-Policy",
    "Retry-After", "Sunset", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-ID",
}  # fmt: skip
"""What its answers say in headers."""


@pytest.fixture(scope="module")
def listed() -> Iterator[Hub]:
    with Hub(HUB_CORS_ORIGINS="https://app.example") as running:
        yield running


async def test_a_page_of_a_listed_origin_may_ask_in_every_way_that_the_api_has(listed: Hub) -> None:
    async with httpx.AsyncClient(base_url=listed.url(), headers=PAGE) as page:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            asked = await page.options(
                "/v1/endpoints/ep_1",
                headers={"access-control-request-method": method, "access-control-request-headers": ",".join(SENT)},
            )
            assert asked.status_code == 200, asked.text
            assert asked.headers["access-control-allow-origin"] == PAGE["origin"]
            assert asked.headers["access-control-allow-credentials"] == "true"
            assert method in asked.headers["access-control-allow-methods"].split(", ")
            allowed = asked.headers["access-control-allow-headers"].lower().split(", ")
            assert set(SENT) <= set(allowed)


async def test_a_page_of_a_listed_origin_may_read_every_answer_errors_included(listed: Hub) -> None:
    async with httpx.AsyncClient(base_url=listed.url(), headers=PAGE) as page:
        for path, credential in (
            ("/v1/events", auth()),
            ("/v2/events", auth()),
            ("/v1/events/x", auth()),
            ("/v1/events", {}),
        ):
            answer = await page.get(path, headers=credential)
            assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
            assert set(answer.headers["access-control-expose-headers"].split(", ")) == READ


async def test_answers_that_differ_by_origin_say_so_to_caches(listed: Hub) -> None:
    async with httpx.AsyncClient(base_url=listed.url(), headers=auth()) as client:
        for headers in ({}, PAGE, {"origin": "https://evil.example"}):
            for path in ("/v1/events", "/v1/events/x"):
                varies = ",".join((await client.get(path, headers=headers)).headers.get_list("vary")).lower()
                assert "origin" in {name.strip() for name in varies.split(",")}, (path, headers)


async def test_a_page_of_another_origin_is_told_nothing(listed: Hub) -> None:
    foreign = {"origin": "https://evil.example"}
    async with httpx.AsyncClient(base_url=listed.url(), headers=foreign) as page:
        read = await page.get("/v1/events", headers=auth())
        assert "access-control-allow-origin" not in read.headers
        asked = await page.options(
            "/v1/endpoints/ep_1",
            headers={"access-control-request-method": "TRACE", "access-control-request-headers": "authorization,x-odd"},
        )
        error = asked.json()["error"]
        assert (asked.status_code, error["code"]) == (400, "VALIDATION_FAILED")
        assert {fault["field"]: fault["message"].split()[0] for fault in error["details"]} == {
            "Origin": "'https://evil.example'",
            "Access-Control-Request-Method": "'TRACE'",
            "Access-Control-Request-Headers": "'x-odd'",
        }
        assert "access-control-allow-origin" not in asked.headers
        assert asked.headers["x-content-type-options"] == "nosniff"
        assert asked.headers["x-request-id"] == asked.json()["meta"]["request_id"]


async def test_the_hub_is_not_opened_from_the_public_network_into_a_private_one(listed: Hub) -> None:
    async with httpx.AsyncClient(base_url=listed.url(), headers=PAGE) as page:
        wanted = {"access-control-request-method": "GET", "access-control-request-private-network": "true"}
        asked = await page.options("/v1/events", headers=wanted)
        assert asked.status_code == 400
        assert [one["field"] for one in asked.json()["error"]["details"]] == ["Access-Control-Request-Private-Network"]


async def test_all_origins_may_ask_where_all_are_listed_but_never_with_cookies() -> None:
    with Hub(HUB_CORS_ORIGINS="*") as hub:
        async with httpx.AsyncClient(base_url=hub.url(), headers={"origin": "https://any.example"}) as page:
            read = await page.get("/v1/events", headers=auth())
            asked = await page.options("/v1/events", headers={"access-control-request-method": "POST"})
            for answer in (read, asked):
                assert answer.is_success
                assert answer.headers["access-control-allow-origin"] == "*"
                assert "access-control-allow-credentials" not in answer.headers


async def test_without_the_setting_no_page_of_another_origin_is_let_in(hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.url(), headers=PAGE) as page:
        read = await page.get("/v1/events", headers=auth())
        asked = await page.options("/v1/events", headers={"access-control-request-method": "POST"})
        for answer in (read, asked):
            assert not [name for name in answer.headers if name.startswith("access-control-")]
