"""Revocation: which credentials a name strikes."""

from hub.core.claims import Principal
from hub.core.revocation import is_void, key_name, names, signer_name, token_name, user_name

TOKEN = Principal("default", user="ann", token_id="t-1", issued_at=1000)
KEY = Principal("default", key_id="key_1")


def test_a_credential_is_revoked_by_each_of_its_names() -> None:
    assert names(KEY) == [key_name("key_1")]
    assert set(names(TOKEN)) == {token_name("t-1"), user_name("ann")}
    assert names(Principal("default", signer="sig_1")) == [signer_name("sig_1")]
    assert names(Principal("default")) == []


def test_a_token_and_a_key_are_struck_for_good_whenever_they_were_issued() -> None:
    assert is_void(TOKEN, {token_name("t-1"): 1})
    assert is_void(KEY, {key_name("key_1"): 1})
    assert is_void(Principal("default", token_id="t", signer="sig_1", issued_at=9000), {signer_name("sig_1"): 1})
    assert not is_void(TOKEN, {token_name("t-2"): 5000, key_name("t-1"): 5000, user_name("t-1"): 5000})


def test_a_users_credentials_are_struck_as_far_as_they_were_issued_by_then() -> None:
    assert is_void(TOKEN, {user_name("ann"): 1000})
    assert is_void(TOKEN, {user_name("ann"): 1001})
    assert not is_void(TOKEN, {user_name("ann"): 999})
    assert is_void(Principal("default", user="ann", token_id="old"), {user_name("ann"): 1})


def test_a_user_with_the_name_of_a_token_is_another() -> None:
    odd = Principal("default", user="x", token_id="user:ann", issued_at=1)
    assert not is_void(odd, {user_name("ann"): 1000})
