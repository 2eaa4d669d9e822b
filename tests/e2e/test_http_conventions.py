"""What every HTTP answer keeps to: forms, methods, conditions, chosen fields, and errors in one shape."""

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

from tests.support.hub import KEY, Hub, publish
from tests.support.raw_ws import RawWs

PROBLEM = "application/problem+json"


async def endpoint(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    made = await client.post("/v1/endpoints", json={"url": "http://127.0.0.1:9/x", "enabled": False, **fields})
    assert made.status_code == 201, made.text
    return made.json()["data"]


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        (PROBLEM, PROBLEM),
        (f"application/json;q=0.5, {PROBLEM}", PROBLEM),
        (f"{PROBLEM};q=0.5, application/json", "application/json"),
        (f"{PROBLEM};q=0", "application/json"),
        (f"application/*;q=0.2, {PROBLEM};q=0.1", "application/json"),
    ],
)
async def test_an_error_comes_in_the_form_that_is_liked_best(client: httpx.AsyncClient, accept: str, kind: str) -> None:
    response = await client.get("/v1/events/nothing", headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) in ((404, kind), (406, kind))
    body = response.json()
    told = body if kind == PROBLEM else body["error"]
    page = told["type" if kind == PROBLEM else "docs"]
    assert told["hint"]
    assert told["code"] in (await client.get(page)).text


@pytest.mark.parametrize(
    "accept",
    [
        "text/html", "image/*", "application/json;q=0", "application/xml, text/plain", "application/json;q=7",
        "application/json;q=high", "*/*, application/*;q=0",
    ],
)  # fmt: skip
async def test_a_form_that_the_hub_has_not_is_refused_before_anything_is_done(
    client: httpx.AsyncClient, topic: str, accept: str
) -> None:
    event = {"topic": topic, "type": "t", "data": 1}
    response = await client.post("/v1/events", json=event, headers={"accept": accept})
    assert (response.status_code, response.json()["error"]["code"]) == (406, "NOT_ACCEPTABLE")
    assert (await client.get("/v1/events", params={"topic": topic})).json()["data"] == []


async def test_a_body_in_a_form_or_coding_that_is_not_understood_is_refused(client: httpx.AsyncClient) -> None:
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    for headers in ({"content-type": "text/plain"}, packed):
        response = await client.post("/v1/endpoints", content=gzip.compress(b"{}"), headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    plain = {"content-type": "Application/JSON ; charset=utf-8", "content-encoding": "Identity"}
    assert (await client.post("/v1/tokens/revoke", content=b'{"user":"nobody"}', headers=plain)).status_code == 200


@pytest.mark.parametrize("depth", [1000, 30_000])
@pytest.mark.parametrize("path", ["/v1/endpoints", "/v1/keys", "/v1/tokens", "/v1/tickets", "/v1/users/a/disconnect"])
async def test_a_body_that_is_nested_too_deep_is_refused(client: httpx.AsyncClient, path: str, depth: int) -> None:
    body = b'{"metadata":' + b"[" * depth + b"]" * depth + b"}"
    response = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text


@pytest.mark.parametrize("path", ["/v1/endpoints", "/v1/keys", "/v1/tokens", "/v1/tickets", "/v1/users/a/disconnect"])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=b" " * 70_000, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/events"])
async def test_a_body_that_does_not_say_its_length_is_refused_at_the_limit(hub: Hub, path: str) -> None:
    limit = 64 * 1024 if path == "/v1/keys" else 4 * 1024 * 1024
    head = (
        f"POST {path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {KEY}\r\n"
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    for ends in (True, False):
        async with RawWs.connect(hub) as raw:
            raw.send(head.encode(), chunk * (limit // 0x8000 + 1), b"0\r\n\r\n" if ends else b"")
            status, headers = await raw.head()
            error = json.loads(await raw.reader.readexactly(int(headers["content-length"])))["error"]
            assert (status, error["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_long_answers_are_compressed_for_who_takes_that(client: httpx.AsyncClient, topic: str) -> None:
    await publish(client, topic, "x" * 5000)
    url = f"/v1/events?topic={topic}"
    packed = await client.get(url, headers={"accept-encoding": "gzip"})
    plain = await client.get(url, headers={"accept-encoding": "gzip;q=0, identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < 1000 < int(plain.headers["content-length"])
    assert packed.json()["data"] == plain.json()["data"]
    assert "accept-encoding" in packed.headers["vary"]
    for accepted, coding in (("*", "gzip"), ("gzip;q=0, *", None), ("*;q=0", None), ("gzip, *;q=0", "gzip")):
        answer = await client.get(url, headers={"accept-encoding": accepted})
        assert answer.headers.get("content-encoding") == coding
    for length, coding in ((800, None), (1100, "gzip")):  # with what is around it, below and above 1 KiB
        path = f"/v1/events/{(await publish(client, topic, 'x' * (length - 300)))['id']}"
        answer = await client.get(path, headers={"accept-encoding": "br, gzip;q=0.5"})
        assert answer.headers.get("content-encoding") == coding


async def test_a_stream_is_never_compressed(client: httpx.AsyncClient, topic: str) -> None:
    async with client.stream("GET", f"/v1/stream?topic={topic}", headers={"accept-encoding": "gzip"}) as response:
        assert "content-encoding" not in response.headers
        assert (await anext(response.aiter_bytes())).startswith(b"retry:")


async def test_answers_say_that_they_are_data_only(client: httpx.AsyncClient) -> None:
    for path in ("/v1/events", "/v1/nothing", "/health/live", "/docs/errors"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


# -- methods and paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/events", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/v1/endpoints/ep_1", {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH"}),
        ("/v1/tickets", {"OPTIONS", "POST"}),
        ("/health/live", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_another_method_is_refused_by_the_list_of_those_allowed(hub: Hub, path: str, allow: set[str]) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        for method in ("PUT", "TRACE", "PROPFIND"):
            refused = await client.request(method, path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
            assert set(refused.headers["allow"].split(", ")) == allow
        asked = await client.options(path)
        assert (asked.status_code, set(asked.headers["allow"].split(", "))) == (204, allow)


async def test_head_is_get_without_a_body(client: httpx.AsyncClient, topic: str) -> None:
    await publish(client, topic, 1)
    url = f"/v1/events?topic={topic}"
    head, get = await client.head(url), await client.get(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize(
    "path",
    ["//v1/events", "/v1//events", "/v1/endpoints/", "/v1/events%2F", "/v1/%2e%2e/health/live", "/v1/./events",
     "/V1/events", "/v1/endpoints/%00", "/v1/endpoints/%ff%fe", "/v1/events/%E2%80%A8", "/v1/topics/%2F/presence"],
)  # fmt: skip
async def test_a_path_that_is_written_oddly_is_no_other_and_breaks_nothing(hub: Hub, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.ports[0])
    writer.write(request.encode())
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] in (b"400", b"404")
    assert json.loads(body)["success"] is False
    assert b"evil.example" not in head


async def test_a_parameter_that_is_not_known_is_refused_on_every_route(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/v1/endpoints/x"), ("POST", "/v1/events"), ("DELETE", "/v1/keys/x")):
        response = await client.request(method, path, params={"nonsense": "1"})
        assert (response.status_code, response.json()["error"]["details"][0]["field"]) == (400, "nonsense")


async def test_a_websocket_path_says_so_to_who_sends_plain_http(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/ws")
    assert (response.status_code, response.json()["error"]["code"]) == (426, "UPGRADE_REQUIRED")


# -- conditions and fields ---------------------------------------------------------------------------------------------


async def test_what_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    path = f"/v1/endpoints/{(await endpoint(client))['id']}"
    first = await client.get(path)
    tag = first.headers["etag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(path, headers={"if-none-match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = await client.patch(path, json={"description": "new"})
    assert changed.status_code == 200
    newer = await client.get(path, headers={"if-none-match": tag})
    assert (newer.status_code, newer.json()["data"]["description"]) == (200, "new")
    await client.delete(path)


async def test_a_read_is_kept_by_its_reader_alone_and_asked_about_each_time(client: httpx.AsyncClient) -> None:
    for path in ("/v1/events", "/v1/keys"):
        first = await client.get(path)
        again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
        for answer in (first, again):
            assert answer.headers["cache-control"] == "private, no-cache"
            assert {"accept", "accept-encoding"} <= set(answer.headers["vary"].split(", "))


async def test_a_list_has_another_state_when_only_its_pages_have(client: httpx.AsyncClient, topic: str) -> None:
    tags: list[str] = []
    for n in range(2):
        await publish(client, topic, n)
        answer = await client.get("/v1/events", params={"topic": topic, "limit": 1, "fields": "type"})
        assert answer.json()["data"] == [{"type": "test.event"}]
        tags.append(answer.headers["etag"])
    assert tags[0] != tags[1]


async def test_a_change_or_a_deletion_of_another_state_than_was_read_is_refused(client: httpx.AsyncClient) -> None:
    path = f"/v1/endpoints/{(await endpoint(client))['id']}"
    read = (await client.get(path)).headers["etag"]
    assert (await client.patch(path, json={"description": "a"}, headers={"if-match": read})).status_code == 200
    for refused in (
        await client.patch(path, json={"description": "b"}, headers={"if-match": read}),
        await client.delete(path, headers={"if-match": read}),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")
    now = await client.get(path)
    assert now.json()["data"]["description"] == "a"
    assert (await client.delete(path, headers={"if-match": now.headers["etag"]})).status_code == 204


async def test_of_two_changes_of_one_state_just_one_is_made(client: httpx.AsyncClient) -> None:
    path = f"/v1/endpoints/{(await endpoint(client))['id']}"
    tag = (await client.get(path)).headers["etag"]
    answers = await asyncio.gather(
        *(client.patch(path, json={"description": f"n{n}"}, headers={"if-match": tag}) for n in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    await client.delete(path)


THINGS: dict[str, tuple[str, str, dict[str, Any], str, list[dict[str, Any]]]] = {
    # how it is made; how it is changed, and by what
    "app": ("POST", "/v1/apps", {"id": "matched"}, "PATCH", [{"name": f"n{n}"} for n in range(8)]),
    "event type": ("PUT", "/v1/event-types/order.matched", {}, "PUT", [{"description": f"n{n}"} for n in range(8)]),
    "API key": ("POST", "/v1/keys", {"role": "publisher"}, "", []),
}


@pytest.mark.parametrize("thing", THINGS)
async def test_if_match_holds_of_everything_that_is_changed_or_deleted(client: httpx.AsyncClient, thing: str) -> None:
    method, path, given, change, changes = THINGS[thing]
    made = (await client.request(method, path, json=given)).json()["data"]
    path = path if method == "PUT" else f"{path}/{made['id']}"
    tag = (await client.get(path)).headers["etag"]
    if changes:
        sent = (client.request(change, path, json=one, headers={"if-match": tag}) for one in changes)
        answers = await asyncio.gather(*sent)
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
        (won,) = (answer.json()["data"] for answer in answers if answer.status_code == 200)
        now = await client.get(path)
        assert now.json()["data"] == won
        assert tag != now.headers["etag"]
        tag = now.headers["etag"]
    refused = await client.delete(path, headers={"if-match": '"another"'})
    assert (refused.status_code, refused.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")
    assert (await client.get(path)).headers["etag"] == tag, "nothing was done"
    assert (await client.delete(path, headers={"if-match": tag})).is_success
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path, headers={"if-match": tag})).status_code == 404


async def test_if_match_makes_nothing_that_was_not_there(client: httpx.AsyncClient) -> None:
    path = "/v1/event-types/order.unmade"
    for header in ("*", '"another"'):
        assert (await client.put(path, json={}, headers={"if-match": header})).status_code == 412
    assert (await client.get(path)).status_code == 404


async def test_fields_choose_what_is_sent_and_leave_it_as_it_is(client: httpx.AsyncClient, topic: str) -> None:
    event = b'{"topic":"%b","type":"t","data":{"amount":1.10,"big":123456789012345678901,"who":{"name":"a","age":3}}}'
    sent = await client.post("/v1/events", content=event % topic.encode(), headers={"content-type": "application/json"})
    url = f"/v1/events/{sent.json()['data']['id']}"
    one = await client.get(url, params={"fields": "id,data.amount,data.who.name"})
    assert b'"data":{"amount":1.10,"who":{"name":"a"}}' in one.content
    assert one.json()["data"].keys() == {"id", "data"}
    whole = await client.get(url, params={"fields": "data"})
    assert b'"big":123456789012345678901' in whole.content
    listed = await client.get("/v1/events", params={"topic": topic, "fields": "type"})
    assert listed.json()["data"] == [{"type": "t"}]
    assert listed.json()["pagination"]["limit"] == 50


@pytest.mark.parametrize("fields", ["nonsense", "", "id,,type", "id." + "a." * 20 + "b", ",".join(["id"] * 60)])
async def test_fields_that_are_none_are_refused(client: httpx.AsyncClient, fields: str) -> None:
    response = await client.get("/v1/events", params={"fields": fields})
    assert (response.status_code, response.json()["error"]["details"][0]["field"]) == (400, "fields")
