"""The documents against the running hub: they are served, and their examples work."""

import re
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis

from hub.app import OPERATIONS
from hub.web.openapi import document, operation_id
from hub.web.operation import Operation
from tests.support.hub import Hub

DOCUMENT: dict[str, Any] = document(OPERATIONS)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """One of its own: the examples revoke tokens of users that other tests have too."""
    with Hub(web=1, workers=1) as running:
        yield running


# -- the documents are served ------------------------------------------------------------------------------------------


async def test_the_document_is_served_as_it_is_made(hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        served = await client.get("/openapi.json")
        assert served.json() == DOCUMENT
        again = await client.get("/openapi.json", headers={"if-none-match": served.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        packed = await client.get("/openapi.json", headers={"accept-encoding": "gzip"})
        assert int(packed.headers["content-length"]) < len(served.content) // 5


async def test_the_pages_load_nothing_from_elsewhere(hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        page = await client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        for target in loaded:
            assert target.startswith("/")
            assert (await client.get(target)).is_success, target
        script = (await client.get("/docs/static/docs.js")).text
        assert not re.search(r"https?://", script + page.text)
        assert (await client.get("/docs/static/nothing.js")).status_code == 404
        assert (await client.get("/docs/static/..%2f__init__.py")).status_code == 404


async def test_each_error_has_a_page(hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        index = (await client.get("/docs/errors")).text
        for code in DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"]:
            page = await client.get(f"/docs/errors/{code}")
            assert page.status_code == 200
            assert f"<h1>{code}</h1>" in page.text
            assert f'href="/docs/errors/{code}"' in index
        assert (await client.get("/docs/errors/NONSENSE")).status_code == 404


# -- the examples work -------------------------------------------------------------------------------------------------


@pytest.fixture
async def ids(client: httpx.AsyncClient) -> dict[str, str]:
    """Something of each kind, for the paths that name one."""
    url = {"url": "https://partner.example/hooks", "types": ["nothing.*"]}
    endpoint = (await client.post("/v1/endpoints", json=url)).json()["data"]["id"]
    await client.post("/v1/apps", json={"id": "documented"})
    return {"endpoints": endpoint, "apps": "documented", "users": "ann", "topics": "a.b"}


EXAMPLES = [one for one in OPERATIONS if one.body is not None and "oauth" not in one.path]


@pytest.mark.parametrize("operation", EXAMPLES, ids=operation_id)
async def test_an_example_is_answered_as_the_document_says(
    client: httpx.AsyncClient, ids: dict[str, str], operation: Operation
) -> None:
    kind = operation.path.split("/")[2]
    path = re.sub(r"{[a-z:]+}", ids.get(kind, "x"), operation.path)
    assert operation.body is not None
    example = operation.body.example
    if operation.path == "/v1/apps":
        await client.delete(f"/v1/apps/{example['id']}")
        example = {**example, "id": "shop-2"}
        await client.delete("/v1/apps/shop-2")
    response = await client.request(operation.method, path, json=example)
    if operation.path == "/v1/apps" and response.status_code == 409:  # a deleted app's id is taken for good
        return
    assert response.status_code in (operation.status, *map(int, operation.more_answers)), response.text
    cast("Any", SCHEMA.find_operation_by_id(operation_id(operation))).validate_response(response)


async def test_an_oauth_client_gets_a_token_by_the_example(client: httpx.AsyncClient, hub: Hub) -> None:
    key = (await client.post("/v1/keys", json={"role": "publisher"})).json()["data"]
    async with httpx.AsyncClient(base_url=hub.url(), auth=(key["id"], key["key"])) as machine:
        form = next(one.body.example for one in OPERATIONS if one.path == "/v1/oauth/token" and one.body is not None)
        answer = await machine.post("/v1/oauth/token", data=form)
        assert answer.status_code == 200, answer.text
        revoked = await machine.post("/v1/oauth/revoke", data={"token": answer.json()["refresh_token"]})
        assert revoked.status_code == 200
