"""Every key that the hub writes, with its time to live; nothing else in the code spells one.

What a script touches together shares a hash tag, so it works on a cluster too: `{pN}` is log partition N, `{dN}`
delivery partition N, `{cfg}` the configuration, `{ctl}` the control stream. `PERMANENT` lists the keys without a time
to live; the key-leak test compares it with what a run left behind.
"""

import zlib
from typing import Final

PERMANENT: Final = (
    "hub:{p*}:log",  # trimmed by age and size
    "hub:{p*}:meta",  # epoch, trim floor, dispatched position: one small hash per partition
    "hub:{cfg}:*",  # endpoints, API keys, layout: as many as the operators made
    "hub:{ctl}:stream",  # capped by length and age
    "hub:{ctl}:presence",  # three numbers
    "hub:{ctl}:leases",  # one member per web process, removed with its members by any other
    "hub:{ctl}:held:*",  # the members that a process holds
    "hub:{ctl}:members:*",  # who is in a topic, gone with the last one
    "hub:{ctl}:topics:*",  # the topics where somebody is
    "hub:{d*}:sched",  # at most one member per endpoint
    "hub:{d*}:[efrlhw]:*",  # per endpoint, bounded by its backlog limit, removed with it
    "hub:{d*}:applied",  # one field per log partition
    "hub:{d*}:tick",  # two numbers
    "hub:{d*}:jobs",  # the jobs that aren't done
    "hub:{d*}:asks",  # the endpoints whose handshake isn't done
    "hub:{d*}:origins",  # a number
    "hub:{d*}:out",  # capped by length, drained into the log
)

WHILE_OWED: Final = ("hub:{d*}:o:*", "hub:{d*}:b:*", "hub:{d*}:j:*")
"""Keys that get their time to live when the last delivery of their event has ended, or their job."""


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
    """Stream of one topic, with the ids of its entries in the log. Lives for the retention after the last event, and so
    may end before the log does (see Log.indexed_above)."""
    return f"hub:{{p{partition}}}:t:{app}:{topic}"


def dispatch_lease(partition: int) -> str:
    """Who reads this partition for dispatch. Lives as long as the lease."""
    return f"hub:{{p{partition}}}:lease"


CONTROL: Final = "hub:{ctl}:stream"
ACCESS_VERSION: Final = "hub:{cfg}:access"
"""String: another one whenever an API key, an app or an OAuth grant was changed or ended."""
API_KEYS: Final = "hub:{cfg}:keys"
"""Hash, key id to its record."""
KEYS_USED: Final = "hub:{cfg}:used"
"""Hash, key id to when it was last used, in ms."""
APPS: Final = "hub:{cfg}:apps"
"""Hash, app id to its record; the records of deleted apps stay."""
APP_INDEX: Final = "hub:{cfg}:apps:index"
"""Sorted set of the ids of apps that are not deleted, by name."""
ENDING_APPS: Final = "hub:{cfg}:apps:ending"
"""Set of the apps whose deletion is under way."""
LAYOUT: Final = "hub:{cfg}:layout"
JANITOR_LEASE: Final = "hub:{ctl}:janitor"
CENSUS: Final = "hub:{ctl}:census"
"""Hash: app (none: all) to what is owed and how endpoints stand; `@at`, when that was counted. Lives for 2 min."""
CENSUS_LEASE: Final = "hub:{ctl}:census:lease"
"""Who counts. Lives as long as the lease."""
PRESENCE: Final = "hub:{ctl}:presence"
"""Hash: version (the last one given), tick (the latest renewal), grace (until when no lease is ended)."""
PRESENCE_LEASES: Final = "hub:{ctl}:leases"
"""Sorted set: holder (a web process) by the end of its lease in ms, 0 when it has ended."""

ENDPOINTS: Final = "hub:{cfg}:endpoints"
"""Hash, endpoint id to what matching needs."""
ENDPOINT_CHANGES: Final = "hub:{cfg}:changes"
"""Stream of the ids of endpoints that were written or deleted; its last id is the endpoints' version."""


def app_keys(app: str) -> str:
    """Sorted set of an app's key ids; they sort by the time they were made."""
    return f"hub:{{cfg}}:keys:{app}"


def grant(grant_id: str) -> str:
    """String, an OAuth grant with the digests of its tokens. Lives as long as its refresh token."""
    return f"hub:{{cfg}}:grant:{grant_id}"


EVENT_TYPE_VERSIONS: Final = "hub:{cfg}:types"
"""Hash, app to the version of its catalogue; the field of no name is that of all."""


def event_types(app: str) -> str:
    """Hash, event type to what the catalogue says of it."""
    return f"hub:{{cfg}}:types:{app}"


def audit(app: str) -> str:
    """Stream of what was changed by whom. Lives for the audit's retention after the last one."""
    return f"hub:{{cfg}}:audit:{app}"


def app_endpoints(app: str) -> str:
    """Sorted set of an app's endpoint ids; they sort by the time they were made."""
    return f"hub:{{cfg}}:endpoints:{app}"


def delivery_partition(endpoint: str, partitions: int) -> int:
    return zlib.crc32(endpoint.encode()) % partitions


def sched(partition: int) -> str:
    """Sorted set: endpoint by its next need, in ms."""
    return f"hub:{{d{partition}}}:sched"


def endpoint(partition: int, endpoint_id: str) -> str:
    """Hash, the truth of an endpoint: configuration, version, state, rate limit, breaker (see delivery.lua)."""
    return f"hub:{{d{partition}}}:e:{endpoint_id}"


def fresh(partition: int, endpoint_id: str) -> str:
    """List: deliveries that were not tried yet, in the order of the log."""
    return f"hub:{{d{partition}}}:f:{endpoint_id}"


def retries(partition: int, endpoint_id: str) -> str:
    """Sorted set: deliveries by the time of their next attempt, in ms."""
    return f"hub:{{d{partition}}}:r:{endpoint_id}"


def leases(partition: int, endpoint_id: str) -> str:
    """Sorted set: attempts under way by the end of their lease, in ms."""
    return f"hub:{{d{partition}}}:l:{endpoint_id}"


def heads(partition: int, endpoint_id: str) -> str:
    """Hash, of an ordered endpoint: topic to the delivery that the others of the topic wait for, and the other way."""
    return f"hub:{{d{partition}}}:h:{endpoint_id}"


def waiting(partition: int, endpoint_id: str) -> str:
    """Sorted set, of an ordered endpoint: deliveries that wait for one before them, by topic and number."""
    return f"hub:{{d{partition}}}:w:{endpoint_id}"


def claims(partition: int, endpoint_id: str) -> str:
    """Sorted set, of an endpoint with a rate limit: leases by the time of their claim, in ms. Lives for the period."""
    return f"hub:{{d{partition}}}:c:{endpoint_id}"


def of_endpoint(partition: int, endpoint_id: str) -> list[str]:
    """What scripts on one endpoint's queues take first (see endpoint_keys in delivery.lua)."""
    return [
        sched(partition),
        tick(partition),
        endpoint(partition, endpoint_id),
        fresh(partition, endpoint_id),
        retries(partition, endpoint_id),
        leases(partition, endpoint_id),
        heads(partition, endpoint_id),
        waiting(partition, endpoint_id),
        claims(partition, endpoint_id),
    ]


def figures(partition: int, endpoint_id: str) -> str:
    """Hash, an endpoint's attempts in rings of buckets (see tally.lua). Lives for 8 days after the last one."""
    return f"hub:{{d{partition}}}:s:{endpoint_id}"


def delivery_index(partition: int, endpoint_id: str, log_partition: int) -> str:
    """Stream of the log positions that an endpoint was owed. Lives for the attempts' retention after the last one."""
    return f"hub:{{d{partition}}}:d:{endpoint_id}:{log_partition}"


def origin_index(partition: int, endpoint_id: str, log_partition: int, origin: int) -> str:
    """The same for what one origin owed (see records.Ref)."""
    index = delivery_index(partition, endpoint_id, log_partition)
    return f"{index}:{origin}" if origin else index


def record(partition: int, ref: str) -> str:
    """Hash, how an event's deliveries stand (see delivery.lua). Lives for the attempts' retention once all ended."""
    return f"hub:{{d{partition}}}:o:{ref}"


def owed_body(partition: int, ref: str) -> str:
    """An owed event's bytes. Freed when nothing is owed; lives as long as the record where something failed."""
    return f"hub:{{d{partition}}}:b:{ref}"


def attempts(partition: int) -> str:
    """Stream of attempts. Trimmed by age and bytes; lives for the attempts' retention after the last one."""
    return f"hub:{{d{partition}}}:hist"


def jobs(partition: int) -> str:
    """Sorted set: `endpoint|number` of the jobs that aren't done, by when each is next to be worked on, in ms."""
    return f"hub:{{d{partition}}}:jobs"


def job(partition: int, endpoint_id: str, number: int) -> str:
    """Hash, a job of an endpoint (see job.lua). Lives for the attempts' retention after its end."""
    return f"hub:{{d{partition}}}:j:{endpoint_id}:{number}"


def endpoint_jobs(partition: int, endpoint_id: str) -> str:
    """Sorted set of an endpoint's jobs by number; score 1 while one isn't done. Lives for the attempts' retention after
    the last step of one."""
    return f"hub:{{d{partition}}}:q:{endpoint_id}"


def of_job(partition: int, endpoint_id: str, number: int) -> list[str]:
    """What steps of a job take after the endpoint's keys (see job.lua)."""
    return [jobs(partition), job(partition, endpoint_id, number), endpoint_jobs(partition, endpoint_id)]


def asks(partition: int) -> str:
    """Sorted set: endpoints whose handshake isn't done, by when they are next to be asked, in ms."""
    return f"hub:{{d{partition}}}:asks"


def origins(partition: int) -> str:
    """The last number given to a job, or to a test event."""
    return f"hub:{{d{partition}}}:origins"


def outbox(partition: int) -> str:
    """Stream of operational events that are not in the log yet."""
    return f"hub:{{d{partition}}}:out"


def applied(partition: int) -> str:
    """Hash, log partition to `epoch position`: what is enqueued already."""
    return f"hub:{{d{partition}}}:applied"


def tick(partition: int) -> str:
    """Hash, the grace clock: last (the latest reserve), grace (until when no lease is taken back)."""
    return f"hub:{{d{partition}}}:tick"


def doorbell(partition: int) -> str:
    """List that idle workers block on. Lives for seconds."""
    return f"hub:{{d{partition}}}:bell"


def revoked(app: str, digest: str) -> str:
    """String, ms: the credential of this name is void as far as it was issued up to then. Lives as long as it could."""
    return f"hub:{{ctl}}:revoked:{app}:{digest}"


def ticket(digest: str) -> str:
    """String, who may come with a ticket. Lives as long as the ticket."""
    return f"hub:{{ctl}}:ticket:{digest}"


def held(holder: str) -> str:
    """Set of `app topic user`, with NUL in between: what a web process holds in presence."""
    return f"hub:{{ctl}}:held:{holder}"


def members(app: str, topic: str) -> str:
    """Hash, user to how many web processes hold it there; the field of no name is the topic's version."""
    return f"hub:{{ctl}}:members:{app}:{topic}"


def live_topics(app: str) -> str:
    """Sorted set of the topics where somebody is, by name."""
    return f"hub:{{ctl}}:topics:{app}"


def request(partition: int, app: str, digest: str) -> str:
    """Hash, what became of the request of an Idempotency-Key (see request_begin.lua). Lives for a day; of a publish for
    the log's retention."""
    return f"hub:{{p{partition}}}:k:{app}:{digest}"


def quota(app: str) -> str:
    """Hash, web process to how many live connections of an app it has, and until when. Lives as long as a lease."""
    return f"hub:{{q{app}}}:quota"


def limit(app: str, rule: str, subject: str) -> str:
    """String, how much of a rate limit is used (see limit.lua). Lives until all is there again."""
    return f"hub:{{r{app}}}:limit:{rule}:{subject}"


def traffic(app: str) -> str:
    """Hash, what passed through an app, in rings of buckets (see tally.lua). Lives for 8 days after the last count."""
    return f"hub:{{n{app}}}:traffic"
