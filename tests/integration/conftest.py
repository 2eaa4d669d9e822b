"""A store for each module, emptied for each test, and the webhook half of it to drive by hand."""

from collections.abc import AsyncIterator, Iterator

import pytest

from hub.store.connect import Link
from tests.support.store import StoreProcess
from tests.support.webhooks import Ground


@pytest.fixture(scope="module")
def store() -> Iterator[StoreProcess]:
    with StoreProcess() as running:
        yield running


@pytest.fixture
async def link(store: StoreProcess) -> AsyncIterator[Link]:
    opened = Link(store.url)
    await opened.open(5)
    await opened.call("FLUSHALL")
    yield opened
    await opened.close()


@pytest.fixture
def ground(link: Link) -> Ground:
    return Ground(link)
