"""The audit log: who changed what, from where, and what came of it; nothing secret."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hub.app import OPERATIONS
from tests.support.hub import Hub, auth, token
from tests.support.waiting import eventually

_numbers = itertools.count(1)
DATA = {
    "POST /v1/events", "POST /v1/tickets", "POST /v1/oauth/token", "POST /v1/oauth/revoke",
    "POST /v1/handshakes/{endpoint}/{key}",  # the target's own word, which hub.endpoint.handshake_granted tells of
}  # fmt: skip
"""What changes nothing that an operator set up: an app's own traffic, and credentials that hold for themselves."""


def test_every_operation_that_changes_something_is_audited_or_is_an_apps_own_traffic() -> None:
    unaudited = {f"{one.method} {one.path}" for one in OPERATIONS if one.method != "GET" and not one.audited}
    assert unaudited <= DATA
    assert {one.path for one in OPERATIONS if one.method == "GET" and one.audited} == {"/v1/endpoints/{id}/secret"}


class Tenant:
    """An app of a test's own, with a key that has every right in it."""

    def __init__(self, hub: Hub, app: str) -> None:
        self.root = httpx.Client(base_url=hub.url(), headers=auth(), timeout=10)
        scopes = ["admin", "endpoints:read", "endpoints:write", "events:publish"]
        made = self.root.post("/v1/keys", json={"name": "owner", "app": app, "scopes": scopes})
        self.key: dict[str, Any] = made.json()["data"]
        self.client = httpx.Client(base_url=hub.url(), headers=auth(self.key["key"]), timeout=10)

    def audit(self, **query: str) -> list[dict[str, Any]]:
        """The app's entries, newest first."""
        response = self.client.get("/v1/audit", params=query)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def close(self) -> None:
        self.root.close()
        self.client.close()


@pytest.fixture
def tenant(hub: Hub) -> Iterator[Tenant]:
    made = Tenant(hub, f"audit-{next(_numbers)}")
    yield made
    made.close()


def test_an_action_is_kept_with_who_what_where_and_what_came_of_it(tenant: Tenant) -> None:
    given = {"url": "http://127.0.0.1:9/", "headers": {"x-secret": "hidden-value"}, "secret": "whsec_" + "QUJD" * 8}
    made = tenant.client.post("/v1/endpoints", json=given, headers={"x-request-id": "req-audit-1"})
    endpoint = made.json()["data"]["id"]
    tenant.client.patch(f"/v1/endpoints/{endpoint}", json={"enabled": False, "description": "hidden-value"})
    tenant.client.get(f"/v1/endpoints/{endpoint}/secret")
    tenant.client.patch(f"/v1/endpoints/{endpoint}", json={"timeout": 0})
    tenant.client.delete(f"/v1/endpoints/{endpoint}")
    tenant.client.get("/v1/endpoints")
    tenant.client.post("/v1/events", json={"topic": "a.b", "type": "c", "data": 1})
    entries = tenant.audit()
    assert [(one["action"], one["target"], one["status"], one["error"]) for one in reversed(entries)] == [
        ("POST /v1/endpoints", endpoint, 201, None),
        ("PATCH /v1/endpoints/{id}", endpoint, 200, None),
        ("GET /v1/endpoints/{id}/secret", endpoint, 200, None),
        ("PATCH /v1/endpoints/{id}", endpoint, 400, "VALIDATION_FAILED"),
        ("DELETE /v1/endpoints/{id}", endpoint, 204, None),
    ]
    first = entries[-1]
    assert first["actor"] == f"key:{tenant.key['id']}"
    assert first["address"] == "127.0.0.1"
    assert first["request_id"] == "req-audit-1"
    assert first["fields"] == ["url", "headers", "secret"]
    text = tenant.client.get("/v1/audit").text
    assert "hidden-value" not in text
    assert "QUJD" not in text


def test_of_a_body_with_many_or_long_fields_some_names_are_kept_and_no_more_of_each(tenant: Tenant) -> None:
    given = {"x" * 300: 1, **{f"field-{n}": n for n in range(60)}}
    assert tenant.client.post("/v1/endpoints", json=given).status_code == 400
    (entry,) = tenant.audit(action="POST /v1/endpoints")
    assert entry["fields"] == ["x" * 200, *(f"field-{n}" for n in range(49))]
    assert (entry["status"], entry["error"]) == (400, "VALIDATION_FAILED")


def test_keys_tokens_revocations_and_disconnects_are_kept_and_no_key_is(tenant: Tenant, hub: Hub) -> None:
    made = tenant.client.post("/v1/keys", json={"name": "reader", "scopes": ["events:publish"]}).json()["data"]
    tenant.client.delete(f"/v1/keys/{made['id']}")
    tenant.client.post("/v1/tokens/revoke", json={"user": "ann"})
    tenant.client.post("/v1/users/ann/disconnect", json={})
    done = [(one["action"], one["target"]) for one in reversed(tenant.audit())]
    assert done == [
        ("POST /v1/keys", made["id"]),
        ("DELETE /v1/keys/{id}", made["id"]),
        ("POST /v1/tokens/revoke", None),
        ("POST /v1/users/{user:path}/disconnect", "ann"),
    ]
    assert made["key"] not in tenant.client.get("/v1/audit").text
    assert all(made["key"] not in process.log for process in hub.webs)


def test_each_app_has_its_own_and_only_for_its_admins(tenant: Tenant, hub: Hub) -> None:
    other = Tenant(hub, f"{tenant.key['app']}-b")
    tenant.client.post("/v1/tokens/revoke", json={"user": "ann"})
    assert len(tenant.audit()) == 1
    assert other.audit() == []
    other.close()
    reader = tenant.client.post("/v1/keys", json={"name": "r", "scopes": ["events:read"]}).json()["data"]["key"]
    assert httpx.get(hub.url("/v1/audit"), headers=auth(reader)).status_code == 403
    assert httpx.get(hub.url("/v1/audit"), headers=auth(token("ann"))).status_code in (401, 403)


def test_who_lacks_the_right_did_nothing(tenant: Tenant, hub: Hub) -> None:
    made = tenant.client.post("/v1/keys", json={"name": "r", "scopes": ["events:read"]}).json()["data"]["key"]
    before = len(tenant.audit())
    assert httpx.post(hub.url("/v1/keys"), headers=auth(made), json={"name": "x", "scopes": []}).status_code == 403
    assert httpx.post(hub.url("/v1/keys"), json={"name": "x"}).status_code == 401
    assert len(tenant.audit()) == before


def test_the_list_is_paged_both_ways(tenant: Tenant) -> None:
    for n in range(7):
        tenant.client.post("/v1/tokens/revoke", json={"user": f"u{n}"})
    whole = [one["id"] for one in tenant.audit()]
    assert len(whole) == 7
    first = tenant.client.get("/v1/audit", params={"limit": 3}).json()
    second = tenant.client.get("/v1/audit", params={"limit": 3, "after": first["pagination"]["next_cursor"]}).json()
    third = tenant.client.get("/v1/audit", params={"limit": 3, "after": second["pagination"]["next_cursor"]}).json()
    assert [one["id"] for page in (first, second, third) for one in page["data"]] == whole
    assert first["pagination"]["prev_cursor"] is None
    assert third["pagination"]["next_cursor"] is None
    back = tenant.client.get("/v1/audit", params={"limit": 3, "before": second["pagination"]["prev_cursor"]}).json()
    assert back["data"] == first["data"]
    assert back["pagination"]["prev_cursor"] is None


@pytest.mark.parametrize(
    "query", [{"after": "aud_1"}, {"before": "nonsense"}, {"after": "audit:aud_1-0", "before": "audit:aud_1-0"}]
)
def test_a_wrong_cursor_is_refused(tenant: Tenant, query: dict[str, str]) -> None:
    assert tenant.client.get("/v1/audit", params=query).status_code == 400


def test_the_log_has_a_line_for_each_entry(tenant: Tenant, hub: Hub) -> None:
    tenant.client.post("/v1/tokens/revoke", json={"user": "ann"}, headers={"x-request-id": "req-audit-line"})
    lines = [line for process in hub.webs for line in process.log.splitlines() if "req-audit-line" in line]
    assert [line for line in lines if '"event":"audit"' in line.replace(" ", "")]


async def test_what_the_store_does_not_take_is_in_the_log_all_the_same() -> None:
    with Hub() as full:
        with full.store.client() as store:
            store.config_set("maxmemory", "1mb")
        async with full.client() as client:
            refused = await client.post("/v1/keys", json={"role": "admin"}, headers={"x-request-id": "unkept"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "LOG_FULL")

        def said() -> dict[str, dict[str, Any]]:
            found = [json.loads(line) for line in full.webs[0].log.splitlines() if '"unkept"' in line]
            return {line["event"]: line for line in found}

        await eventually(lambda: "request" in said(), "all of it is logged")
        assert (said()["audit"]["action"], said()["audit"]["status"]) == ("POST /v1/keys", 503)
        assert said()["audit_not_kept"]["level"] == "error"
