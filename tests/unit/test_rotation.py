"""Which secrets sign while one is replaced by another."""

import pytest

from hub.core.errors import Conflict, HubError, Invalid
from hub.core.rotation import MAX_GRACE, MOST_AT_ONCE, Retired, Rotation, chosen, retire
from hub.core.signing import Signature, kind_of, new_secret

NOW = 1_000_000


def test_the_old_secret_signs_for_the_grace_and_older_ones_for_what_they_had_left() -> None:
    first = retire("a", "v1", (), 60, NOW)
    assert first == (Retired("a", "v1", NOW + 60_000),)
    assert retire("b", "v1a", first, 300, NOW + 10_000) == (Retired("b", "v1a", NOW + 310_000), *first)
    assert retire("b", "v1", first, 300, NOW + 60_000) == (Retired("b", "v1", NOW + 360_000),)


def test_no_older_secret_outlasts_a_shorter_grace_and_a_grace_of_0_ends_all() -> None:
    before = (Retired("b", "v1", NOW + 90_000), Retired("a", "v1", NOW + 5000))
    assert [one.until - NOW for one in retire("c", "v1", before, 10, NOW)] == [10_000, 10_000, 5000]
    assert retire("c", "v1", before, 0, NOW) == ()


def test_more_signatures_than_a_request_should_carry_are_refused() -> None:
    before: tuple[Retired, ...] = ()
    for n in range(MOST_AT_ONCE - 1):
        before = retire(str(n), "v1", before, 60, NOW)
    with pytest.raises(Conflict):
        retire("more", "v1", before, 60, NOW)
    assert len(retire("more", "v1", before, 60, NOW + 61_000)) == 1


@pytest.mark.parametrize("grace", [-1, MAX_GRACE + 1])
def test_a_grace_out_of_bounds_is_refused_by_name(grace: int) -> None:
    with pytest.raises(Invalid, match="grace"):
        retire("a", "v1", (), grace, NOW)


def test_a_secret_that_is_given_is_kept_and_must_fit_the_signature() -> None:
    hmac, pair = new_secret(), new_secret("v1a")
    assert (chosen(hmac, "v1"), chosen(pair, "v1a")) == (hmac, pair)
    assert (kind_of(chosen(None, "v1")), kind_of(chosen(None, "v1a"))) == ("v1", "v1a")
    wrong: tuple[tuple[str, Signature], ...] = ((pair, "v1"), (hmac, "v1a"), ("whsec_AAAA", "v1"))
    for secret, signature in wrong:
        with pytest.raises(HubError, match="secret"):
            chosen(secret, signature)


def test_the_old_secret_signs_for_a_day_unless_another_grace_is_given() -> None:
    assert Rotation().grace == 86_400
