"""When a web process is ready: what is in the log now comes to its live connections in time."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hub.web import ops
from tests.support.gateways import process
from tests.support.store import StoreProcess


@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_process_whose_fan_out_is_behind_the_log_is_not_ready(
    store: StoreProcess, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    monkeypatch.setattr(ops, "TAIL_WITHIN", 0.2)
    async with process(store, partitions=partitions) as one:
        resources: Any = SimpleNamespace(gateway=one.gateway, log=one.gateway.log)
        for n in range(partitions * 2):
            await one.publish(f"a.{n}", 1)
        assert await ops.faults(resources) == {}
        async with one.gateway.turn.take():  # nothing is fanned out meanwhile
            await one.publish(f"a.{partitions}", "more")
            assert await ops.faults(resources) == {"tail": "events in the log have not been fanned out within 1 s"}
        async with asyncio.timeout(5):
            while await ops.faults(resources):
                pass


def test_the_time_that_it_has_is_what_the_fault_says() -> None:
    assert ops.TAIL_WITHIN == 1.0
