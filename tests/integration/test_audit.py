"""The audit log in the store: how long it keeps what was done, and how much."""

from hub.store import keys
from hub.store.audit import Audit, Deed
from hub.store.connect import Link
from hub.store.paging import Window

APP = "default"
DEED = Deed(
    actor="key:key_1", action="POST /v1/keys", target=None, fields=("role",), address="10.0.0.1", request_id="req_1",
    status=201, error=None,
)  # fmt: skip


async def test_what_is_older_than_the_retention_goes_and_the_log_with_its_last_entry(link: Link) -> None:
    audit = Audit(link, retention=600)
    clock = await link.call("TIME")
    now = int(clock[0]) * 1000
    for _ in range(250):
        await audit.add(APP, DEED, now)
    assert 598 <= await link.call("TTL", keys.audit(APP)) <= 600
    await audit.add(APP, DEED, now + 599_000)
    assert await link.call("XLEN", keys.audit(APP)) == 251
    await audit.add(APP, DEED, now + 660_000)
    left = await link.call("XLEN", keys.audit(APP))
    assert left < 150, "the store trims whole nodes of a hundred entries"
    assert len((await audit.page(APP, Window(500, descending=True))).items) == left
