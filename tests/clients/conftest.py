"""A hub for the clients of other people, whose web processes may be ended."""

from collections.abc import Iterator

import pytest

from tests.support.hub import Hub


@pytest.fixture(scope="module")
def mortal() -> Iterator[Hub]:
    with Hub(web=2) as running:
        yield running
