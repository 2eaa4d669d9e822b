"""One hub for all tests that leave it whole; each test uses topics of its own."""

import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.hub import Hub
from tests.support.receiver import Receiver

_numbers = itertools.count(1)

# Reading the public roots costs each HTTP client 28 ms, here and in every process that a test starts, and none of
# them signed anything here. A folder without certificates stands in for them.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# A runner in the background, or under nohup, ignores these, and our processes would inherit that.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """A store, two web processes and a worker. A test that kills or stops something makes its own Hub."""
    with Hub(web=2, workers=1) as running:
        yield running


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.client() as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as opened:
        yield opened


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"test{next(_numbers)}.room"
