"""The tree of errors."""

from collections.abc import Iterator

import pytest

from hub.core import errors
from hub.core.errors import Detail, HubError


def tree(root: type[HubError] = HubError) -> Iterator[type[HubError]]:
    yield root
    for sub in root.__subclasses__():
        yield from tree(sub)


@pytest.mark.parametrize("error", list(tree()))
def test_every_error_says_how_http_and_websocket_say_it(error: type[HubError]) -> None:
    assert error.code.replace("_", "").isalpha()
    assert error.code.isupper()
    assert 400 <= error.status < 600
    assert error.close_code in (1009, 1011, 1013) or 4000 <= error.close_code < 5000
    assert (error.retry_after is not None) == (error.status in (429, 503))


@pytest.mark.parametrize("error", list(tree()))
def test_a_clients_fault_is_never_closed_as_the_servers(error: type[HubError]) -> None:
    assert (error.status < 500) == (error.close_code not in (1011, 1013))


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in tree()]
    assert sorted(codes) == sorted(set(codes))


def test_an_error_carries_its_message_and_details() -> None:
    exc = errors.NotFound("No such event", (Detail("id", "is not known"),))
    assert (str(exc), exc.message, exc.details) == ("No such event", "No such event", (Detail("id", "is not known"),))


def test_a_fields_fault_is_both_message_and_detail() -> None:
    exc = errors.EndpointUrlForbidden.field("url", "is private")
    assert isinstance(exc, errors.EndpointUrlForbidden)
    assert (exc.message, exc.details) == ("url: is private", (Detail("url", "is private"),))
