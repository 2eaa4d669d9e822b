"""Every key that the hub writes, with its time to live; nothing else in the code spells one.

What a script touches together shares a hash tag, so it works on a cluster too: `{pN}` is log partition N, `{dN}` delivery
partition N, `{cfg}` the configuration, `{ctl}` the control stream. `PERMANENT` lists the keys without a time to live; the
key-leak test compares it with what a run left behind.
"""

import zlib
from typing import Final

PERMANENT: Final = (
    "hub:{p*}:log",  # trimmed by age and size
    "hub:{p*}:meta",  # epoch, trim floor, dispatched position: one small hash per partition
    "hub:{cfg}:*",  # endpoints, API keys, layout: as many as the operators made
    "hub:{ctl}:stream",  # capped by length
)


def partition_of(app: str, topic: str, partitions: int) -> int:
    """The log partition of a topic: order is kept per topic, so a topic never spreads."""
    return zlib.crc32(f"{app}\0{topic}".encode()) % partitions if partitions > 1 else 0


def log(partition: int) -> str:
    return f"hub:{{p{partition}}}:log"


def meta(partition: int) -> str:
    return f"hub:{{p{partition}}}:meta"


def seen(partition: int, app: str, event_id: str) -> str:
    """Hash, topic to `position timestamp type`: deduplication and look-up by id. Lives for the retention."""
    return f"hub:{{p{partition}}}:i:{app}:{event_id}"


def topic_index(partition: int, app: str, topic: str) -> str:
    """Stream of one topic, with the ids of its entries in the log. Lives for the retention after the last event."""
    return f"hub:{{p{partition}}}:t:{app}:{topic}"


def dispatch_lease(partition: int) -> str:
    """Who reads this partition for dispatch. Lives as long as the lease."""
    return f"hub:{{p{partition}}}:lease"


CONTROL: Final = "hub:{ctl}:stream"
API_KEYS: Final = "hub:{cfg}:keys"
LAYOUT: Final = "hub:{cfg}:layout"
JANITOR_LEASE: Final = "hub:{ctl}:janitor"
