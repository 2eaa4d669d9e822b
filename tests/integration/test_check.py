"""What `hub check` finds out beside the store's own settings."""

import base64
import resource

import msgspec
import pytest

from hub.check import file_faults, secret_faults
from hub.store.connect import Link
from tests.support.webhooks import Ground


async def test_a_secret_key_that_opens_what_the_store_holds_is_fine(ground: Ground, link: Link) -> None:
    assert await secret_faults(link, ground.settings) == []  # there is nothing to open yet
    await ground.endpoint()
    assert await secret_faults(link, ground.settings) == []


async def test_another_secret_key_is_an_error_with_its_mend(ground: Ground, link: Link) -> None:
    await ground.endpoint()
    other = msgspec.structs.replace(ground.settings, secret_key=b"x" * 32)
    (fault,) = await secret_faults(link, other)
    assert fault.level == "error"
    assert "HUB_SECRET_KEY" in fault.mend
    assert base64.b64encode(b"x" * 32).decode() not in fault.what + fault.mend


@pytest.mark.parametrize(("limit", "faults"), [(1024, 1), (16, 1), (65536, 0), (resource.RLIM_INFINITY, 0)])
def test_few_open_files_are_a_warning(limit: int, faults: int) -> None:
    found = file_faults(limit)
    assert len(found) == faults
    assert all(fault.level == "warning" and "ulimit -Hn" in fault.mend for fault in found)
