"""Apps are fully apart: every operation is tried with another app's key and this app's ids.

An operation that names a thing answers 404 or 403. One that doesn't works on the caller's own app, and its answer holds
nothing of ours. Either way all of ours stands as before. The cases are derived from the table of operations: a new one
that isn't covered here fails.
"""

import re
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import jwt
import msgspec
import pytest

from hub.app import OPERATIONS
from hub.web.auth import OPEN
from hub.web.operation import Operation
from tests.support.hub import KEY, Hub, auth, free_port, publish, token
from tests.support.live import SseClient, WsClient
from tests.support.waiting import until

APP: Final = "isolated"
MARK: Final = "ours-alone"
TOPIC: Final = "ours.room"
USER: Final = "ann-of-ours"
SPAN: Final = {"since": "2026-01-01T00:00:00Z"}


class Estate(msgspec.Struct):
    """What our app has: ids by what they are of, and its credentials."""

    key: str
    jwt: str
    form: dict[str, str]
    access: str
    refresh: str
    ids: dict[str, str]
    cursor: str


@pytest.fixture(scope="module")
def ours(hub: Hub) -> Iterator[Estate]:
    with httpx.Client(base_url=hub.url(), headers=auth(KEY), timeout=10) as root:
        made = posted(root, "/v1/keys", {"app": APP, "role": "admin", "name": MARK})
    with httpx.Client(base_url=hub.url(), headers=auth(made["key"]), timeout=10) as client:
        url = f"http://127.0.0.1:{free_port()}/{MARK}"
        endpoint = posted(client, "/v1/endpoints", {"url": url, "topics": [TOPIC], "description": MARK})
        signing = posted(client, f"/v1/apps/{APP}/signing-keys", {})
        first = posted(client, "/v1/events", {"topic": TOPIC, "type": "a.b", "data": MARK})
        sent = posted(client, "/v1/events", {"topic": TOPIC, "type": "a.b", "data": MARK, "id": "ours-first"})
        delivery = until(lambda: listed(client, "/v1/deliveries"), "a delivery is owed")[0]
        job = posted(client, f"/v1/endpoints/{endpoint['id']}/recover", SPAN)
        client.put("/v1/event-types/ours.type", json={"description": MARK}).raise_for_status()
        form = {"client_id": made["id"], "client_secret": made["key"]}
        asked = {**form, "grant_type": "client_credentials"}
        granted = httpx.post(hub.url("/v1/oauth/token"), data=asked).json()
        signed = posted(client, "/v1/tokens", {"user": USER, "subscribe": ["**"], "presence": ["**"]})["token"]
        ids = {"events": sent["id"], "endpoints": endpoint["id"], "deliveries": delivery["id"], "apps": APP,
               "keys": made["id"], "signing": signing["id"], "jobs": job["id"], "users": USER,
               "event-types": "ours.type", "topics": TOPIC}  # fmt: skip
        yield Estate(made["key"], signed, form, granted["access_token"], granted["refresh_token"], ids, first["cursor"])


@pytest.fixture(scope="module")
def theirs(hub: Hub) -> dict[str, str]:
    """The admin key of another app."""
    answer = httpx.post(hub.url("/v1/keys"), json={"app": "curious", "role": "admin"}, headers=auth(KEY))
    return answer.json()["data"]


def posted(client: httpx.Client, path: str, body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()["data"]


def listed(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    return client.get(path).json()["data"]


def standing(hub: Hub, ours: Estate) -> dict[str, Any]:
    """All of ours as our own credentials see it: what no other app may change."""
    with httpx.Client(base_url=hub.url(), headers=auth(ours.key), timeout=10) as client:
        found: dict[str, Any] = {}
        for name in ("keys", "apps"):
            one = client.get(f"/v1/{name}/{ours.ids[name]}").json()["data"]
            found[name] = {key: value for key, value in one.items() if key != "last_used_at"}
        endpoint = client.get(f"/v1/endpoints/{ours.ids['endpoints']}").json()["data"]
        found["endpoint"] = [endpoint[key] for key in ("id", "url", "enabled", "updated_at")]
        found["secret"] = client.get(f"/v1/endpoints/{ours.ids['endpoints']}/secret").json()["data"]
        found["delivery"] = client.get(f"/v1/deliveries/{ours.ids['deliveries']}").json()["data"]["status"]
        found["signing"] = client.get(f"/v1/apps/{APP}/signing-keys").json()["data"]
        found["types"] = listed(client, "/v1/event-types")
        found["counts"] = [len(listed(client, path)) for path in ("/v1/keys", "/v1/endpoints", "/v1/deliveries")]
        found["events"] = [event["id"] for event in client.get("/v1/events").json()["data"]]
        for credential in (ours.jwt, ours.access):
            headers = auth(credential)
            assert client.get(f"/v1/poll?topic={TOPIC}&wait=0", headers=headers).status_code == 200
        return found


# -- operations --------------------------------------------------------------------------------------------------------


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


BODIES: Final[dict[str, Any]] = {
    "PATCH /v1/endpoints/{id}": {"enabled": False},
    "POST /v1/endpoints/{id}/secret/rotate": {"grace": 0},
    "POST /v1/endpoints/{id}/recover": SPAN,
    "POST /v1/endpoints/{id}/replay": SPAN,
    "PATCH /v1/apps/{id}": {"name": "theirs now", "tokens": {}},
}
"""What is sent where an empty object would not do."""


def own_requests(ours: Estate) -> dict[str, list[tuple[str, Any]]]:
    """Of each operation that works on the caller's own app: paths with bodies that reach for what is ours."""
    ids, event = ours.ids, {"topic": TOPIC, "type": "a.b", "data": "theirs", "id": ours.ids["events"]}
    return {
        "POST /v1/events": [("/v1/events", event), ("/v1/events", [event])],
        "GET /v1/events": [("/v1/events", None), (f"/v1/events?topic={TOPIC}&after={ours.cursor}", None)],
        "GET /v1/poll": [(f"/v1/poll?topic={TOPIC}&topic=**&after={ours.cursor}&wait=0", None)],
        "POST /v1/endpoints": [("/v1/endpoints", {"url": "http://127.0.0.1:1/", "topics": [TOPIC]})],
        "GET /v1/endpoints": [("/v1/endpoints", None), (f"/v1/endpoints?after={'ep_' + 'f' * 24}", None)],
        "GET /v1/audit": [("/v1/audit", None)],
        "GET /v1/stats": [("/v1/stats", None)],
        "POST /v1/portal": [("/v1/portal", {}), ("/v1/portal", {"app": APP})],
        "GET /v1/deliveries": [
            ("/v1/deliveries", None),
            (f"/v1/deliveries?endpoint={ids['endpoints']}", None),
            (f"/v1/deliveries?event={ids['events']}", None),
        ],
        "GET /v1/event-types": [("/v1/event-types", None), ("/v1/event-types?after=a", None)],
        "PUT /v1/event-types/{type:path}": [
            ("/v1/event-types/theirs.type", {}),
            (f"/v1/event-types/{ids['event-types']}", {"schema": 5}),
        ],
        "POST /v1/apps": [("/v1/apps", {"id": APP})],
        "GET /v1/apps": [("/v1/apps", None), ("/v1/apps?after=a", None)],
        "POST /v1/keys": [("/v1/keys", {"role": "admin", "app": APP}), ("/v1/keys", {"scopes": ["apps"]})],
        "GET /v1/keys": [("/v1/keys", None), (f"/v1/keys?app={APP}", None), (f"/v1/keys?before={ids['keys']}", None)],
        "POST /v1/tokens": [("/v1/tokens", {"user": USER, "subscribe": ["**"]})],
        "POST /v1/tokens/revoke": [
            ("/v1/tokens/revoke", {"token": ours.jwt}),
            ("/v1/tokens/revoke", {"user": USER}),
            ("/v1/tokens/revoke", {"jti": jwt.decode(ours.jwt, options={"verify_signature": False}).get("jti")}),
        ],
        "POST /v1/tickets": [("/v1/tickets", {"user": USER, "subscribe": ["**"]})],
        "GET /v1/topics": [("/v1/topics", None), ("/v1/topics?prefix=ours", None)],
        "GET /v1/topics/{topic}/presence": [(f"/v1/topics/{TOPIC}/presence", None)],
        "POST /v1/users/{user:path}/disconnect": [(f"/v1/users/{USER}/disconnect", {})],
    }


_NOTHING: Final = Estate(
    "", token(USER), {}, "", "", dict.fromkeys(("events", "endpoints", "keys", "event-types"), ""), ""
)
OWN: Final = frozenset(own_requests(_NOTHING))
"""What works on the caller's own app, whatever it names."""

ELSEWHERE: Final = {"GET /v1/stream", "GET /v1/ws", "POST /v1/oauth/token", "POST /v1/oauth/revoke"}
"""What has a test of its own below."""

DEPLOYMENT: Final = {"GET /metrics"}
"""What is about all apps, and for who runs them alone."""

NAMED: Final = [one for one in OPERATIONS if name_of(one) not in OWN | ELSEWHERE and one.access is not OPEN]


def path_of(operation: Operation, ours: Estate) -> str:
    """The operation's path with our ids in it."""
    if name_of(operation) in DEPLOYMENT:
        return operation.path
    assert "{" in operation.path, f"{name_of(operation)} names nothing: say in this test what it does for another app"
    kind = operation.path.split("/")[2]
    path = operation.path.replace("{key}", ours.ids["signing"])
    assert kind in ours.ids, f"{name_of(operation)}: this test has no id of ours for it"
    return re.sub(r"{[a-z]+(:path)?}", ours.ids[kind], path)


@pytest.mark.parametrize("operation", NAMED, ids=name_of)
def test_what_is_named_of_another_app_is_not_there(
    hub: Hub, ours: Estate, theirs: dict[str, str], operation: Operation
) -> None:
    before = standing(hub, ours)
    body = BODIES.get(name_of(operation), {}) if operation.body is not None else None
    with httpx.Client(base_url=hub.url(), headers=auth(theirs["key"]), timeout=10) as them:
        answer = them.request(operation.method, path_of(operation, ours), json=body)
    assert answer.status_code in (403, 404), answer.text
    assert answer.json()["success"] is False
    assert MARK not in answer.text
    assert standing(hub, ours) == before
    with httpx.Client(base_url=hub.url(), headers=auth(ours.key), timeout=10) as us:
        # It is there for us: what was refused was the stranger.
        if operation.method == "GET" and name_of(operation) not in DEPLOYMENT:
            assert us.get(path_of(operation, ours)).status_code == 200


@pytest.mark.parametrize("name", sorted(OWN))
async def test_what_works_on_ones_own_app_shows_and_changes_nothing_of_another(
    hub: Hub, ours: Estate, theirs: dict[str, str], name: str
) -> None:
    before = standing(hub, ours)
    async with WsClient.open(hub, key=ours.jwt) as ann, hub.client(key=theirs["key"]) as them:
        await ann.join(TOPIC, presence=True)
        for path, body in own_requests(ours)[name]:
            answer = await them.request(name.split()[0], path, json=body)
            assert answer.status_code < 500
            sent = f"{path} {body}"
            # Their audit log has the ids that they themselves named, and nothing else of ours.
            ids = () if path == "/v1/audit" else ours.ids.values()
            for one in (MARK, ours.key, ours.jwt, *ids):
                assert one in sent or one not in answer.text, path
        assert (await ann.ask("ping"))["type"] == "pong", "our user is still there"
        assert not [message for message in await ann.quiet() if message["type"] == "event"]
    assert standing(hub, ours) == before


def test_no_case_is_left_of_an_operation_that_is_gone() -> None:
    assert {name_of(operation) for operation in OPERATIONS} >= OWN | ELSEWHERE | DEPLOYMENT | BODIES.keys()


# -- live connections, and OAuth ---------------------------------------------------------------------------------------


async def test_live_connections_of_another_app_get_nothing_whatever_they_ask_for(
    hub: Hub, ours: Estate, theirs: dict[str, str]
) -> None:
    async with (
        hub.client(key=ours.key) as us,
        hub.client(key=theirs["key"]) as them,
        WsClient.open(hub, key=ours.jwt) as ann,
        WsClient.open(hub, key=theirs["key"]) as ws,
        SseClient.open(hub, f"topic={TOPIC}&topic=**&after={ours.cursor}", key=theirs["key"]) as sse,
    ):
        await ann.join(TOPIC, presence=True)
        for room in (TOPIC, "**", "ours.*", "@user." + USER, "hub.operational"):
            await ws.join(room, after=ours.cursor)
        assert (await ws.join(TOPIC, presence=True))["presence"] == []
        assert (await ws.ask("presence", room=TOPIC))["users"] == []
        assert (await ws.ask("direct_message", user=USER, data="theirs"))["type"] == "ack"
        assert (await ws.ask("broadcast", room=TOPIC, data="theirs", id=ours.ids["events"]))["type"] == "ack"
        assert (await ws.ask("authenticate", token=ours.jwt))["code"] == "FORBIDDEN"
        await publish(us, TOPIC, MARK)
        await publish(us, TOPIC, MARK, ephemeral=True)
        assert [message["event"]["data"] for message in (await ann.events(2))] == [MARK] * 2
        own = await publish(them, TOPIC, "the end")
        data: list[Any] = []
        while data[-1:] != ["the end"]:
            data += [one["data"] for one in await sse.data(1) if isinstance(one, dict) and "data" in one]
        assert MARK not in data
        seen = await ws.quiet()
        assert own["id"] in [message["event"]["id"] for message in seen if message["type"] == "event"]
        assert MARK not in msgspec.json.encode(seen).decode()
        assert not [one for one in await ann.quiet() if one["type"] in ("event", "user_joined", "room_left")]


async def test_another_apps_client_can_neither_use_nor_end_our_grants(
    hub: Hub, ours: Estate, theirs: dict[str, str]
) -> None:
    before = standing(hub, ours)
    form = {"client_id": theirs["id"], "client_secret": theirs["key"]}
    async with httpx.AsyncClient(base_url=hub.url()) as client:
        refused = await client.post(
            "/v1/oauth/token", data={**form, "grant_type": "refresh_token", "refresh_token": ours.refresh}
        )
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        for one in (ours.access, ours.refresh):
            assert (await client.post("/v1/oauth/revoke", data={**form, "token": one})).status_code == 200
        mixed = {**form, "client_id": ours.form["client_id"], "grant_type": "client_credentials"}
        assert (await client.post("/v1/oauth/token", data=mixed)).json()["error"] == "invalid_client"
    assert standing(hub, ours) == before


async def test_a_signing_key_can_not_name_another_app(hub: Hub, ours: Estate, theirs: dict[str, str]) -> None:
    async with hub.client(key=theirs["key"]) as them:
        secret = (await them.post("/v1/apps/curious/signing-keys", json={})).json()["data"]
        claims = {"exp": time.time() + 60, "iat": time.time(), "sub": USER, "scope": "events:read events:subscribe"}
        for app in (APP, "default", None, "nobody", ""):
            for kid in (secret["id"], ours.ids["signing"], None):
                named = {} if app is None else {"app": app}
                header = None if kid is None else {"kid": kid}
                forged = jwt.encode({**claims, **named}, secret["secret"], algorithm="HS256", headers=header)
                answer = await them.get("/v1/events", headers=auth(forged))
                assert answer.status_code == 401, (app, kid)
        good = jwt.encode({**claims, "app": "curious"}, secret["secret"], algorithm="HS256")
        found = await them.get("/v1/events", headers=auth(good))
        assert found.status_code == 200
        assert MARK not in found.text
