"""Opaque credentials: their form, and that it is known again where it doesn't belong."""

import pytest

from hub.core import opaque
from hub.core.opaque import ACCESS_TOKEN, API_KEY, REFRESH_TOKEN


@pytest.mark.parametrize("kind", [API_KEY, ACCESS_TOKEN, REFRESH_TOKEN])
def test_a_credential_says_its_kind_and_id(kind: str) -> None:
    id = opaque.new_id(1_700_000_000_000)
    made = opaque.mint(kind, id)
    assert opaque.parse(made) == (kind, id)
    assert opaque.mint(kind, id) != made
    for wrong in (made[:-1], made + "a", made.upper(), " " + made, made + "\n", made.replace(kind, "other"), ""):
        assert opaque.parse(wrong) is None


def test_ids_sort_by_their_time() -> None:
    ids = [opaque.new_id(moment) for moment in (1, 1_600_000_000_000, 1_700_000_000_000, 1_700_000_000_001)]
    assert sorted(ids) == ids
    assert len({opaque.new_id(1) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("kind", ["hubsk", "hubat", "hubrt", "tkt", "whsec"])
def test_a_credential_in_a_path_is_hidden(kind: str) -> None:
    made = opaque.mint(kind, opaque.new_id(7))
    assert opaque.hide(f"/v1/keys/{made}/x") == "/v1/keys/***/x"
    assert opaque.hide("/v1/x?token=eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln") == "/v1/x?token=***"
    for plain in (
        "/v1/events",
        "/v1/keys/key_01a210cf36510622dfd85ce5",
        "/v1/endpoints/ep_01a210cf3651/test",
    ):
        assert opaque.hide(plain) == plain
