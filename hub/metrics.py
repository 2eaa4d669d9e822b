"""Every metric of the hub, declared once. docs/metrics.md explains them; a test compares the two.

A process counts by batches and steps, never by deliveries to connections. Labels have few values: never a topic, a user
or an app; an endpoint's id only where HUB_METRICS_PER_ENDPOINT asks for it.

The metrics are one process's, and state that lives as long as it does: this is the one module where such state is
meant. SHARED holds what is the same whichever process is asked: it is read from the store when a scrape comes.
"""

import functools
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from hub.meters import Count, Spread

PROCESS: Final = CollectorRegistry()
SHARED: Final = CollectorRegistry()
ProcessCollector(registry=PROCESS)

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds, for what happens within the hub."""
_SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds, for what others take part in."""


def _counter(name: str, what: str, *labels: str) -> Count:
    return Count(f"hub_{name}", what, labels, registry=PROCESS)


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(f"hub_{name}", what, labels, registry=PROCESS)


def _histogram(name: str, what: str, *labels: str, buckets: tuple[float, ...] = _FAST) -> Spread:
    return Spread(f"hub_{name}", what, labels, registry=PROCESS, buckets=buckets)


def _stored(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(f"hub_{name}", what, labels, registry=SHARED)


# -- requests and publishing -------------------------------------------------------------------------------------------

REQUESTS = _counter("requests", "HTTP requests and WebSocket handshakes answered", "method", "route", "status")
REQUEST_SECONDS = _histogram("request_seconds", "From a request's head to the begin of its answer", "method", "route")
ERRORS = _counter("errors", "Error answers by their code; RATE_LIMITED is what rate limits refused", "code")
REQUESTS_IN_PROGRESS = _gauge("requests_in_progress", "Requests and handshakes in progress, waiting polls not counted")
SHED = _counter("shed", "Requests and live connections refused since more came than could be served", "kind")
LOOP_LAG_SECONDS = _histogram("loop_lag_seconds", "How late the web process's event loop runs, 40 times a second")
LIMITED = _counter(
    "rate_limit_decisions", "What rate limits decided: allowed, refused, or unchecked while the store was away",
    "limit", "by", "result",
)  # fmt: skip
PUBLISHED = _counter("published", "Events accepted, by what became of them", "result")
PUBLISHED_APPENDED = PUBLISHED.labels("appended")
PUBLISHED_DUPLICATE = PUBLISHED.labels("duplicate")
PUBLISHED_EPHEMERAL = PUBLISHED.labels("ephemeral")
APPEND_SECONDS = _histogram("append_seconds", "Appending the events of one publish, its durability included")
APPEND_FAILURES = _counter("append_failures", "Publishes whose append failed, by the error's code", "code")

# -- live --------------------------------------------------------------------------------------------------------------

TAIL_UP = _gauge("tail_up", "1 while this process can read the log")
TAIL_LAG_SECONDS = _histogram("tail_lag_seconds", "From an event's append to the begin of its fan-out, once per step")
FANOUT_EVENTS = _counter("fanout_events", "Events fanned out")
FANOUT_DELIVERIES = _counter("fanout_deliveries", "Events written to live connections")
FANOUT_SECONDS = _histogram("fanout_seconds", "Fanning out one step of up to 128 events")
CONNECTIONS = _gauge("connections", "Live connections", "transport")
CONNECTIONS_OPENED = _counter("connections_opened", "Live connections opened", "transport")
CONNECTIONS_CLOSED = _counter(
    "connections_closed", "Live connections that ended, by close code or `client`", "transport", "code"
)
ROOMS = _gauge("rooms", "Different subscriptions on this process")
WINDOW_EVENTS = _gauge("window_events", "Events in memory, for reconnects")
REPLAYS = _counter(
    "replays", "Joins, by whether they recovered all since their cursor (`none`: none was given)", "recovered"
)
REPLAY_SECONDS = _histogram("replay_seconds", "From a join to its first live event", buckets=_SLOW)
REPLAYED_EVENTS = _counter("replayed_events", "Events written by replays")
GAPS = _counter("gaps", "Gaps that subscribers were told of")

# -- webhooks ----------------------------------------------------------------------------------------------------------

DISPATCHED = _counter("dispatched_events", "Events that dispatch has matched with endpoints")
DISPATCH_SECONDS = _histogram("dispatch_seconds", "Matching and enqueueing one batch of events")
DISPATCH_PASSED = _counter("dispatch_passed", "Events that dispatch gave up on: report them")
DISPATCH_HELD = _gauge("dispatch_held", "Log partitions that this worker dispatches")
DELIVERIES_OWED = _counter("deliveries_owed", "Deliveries enqueued")
DELIVERIES_ENDED = _counter("deliveries_ended", "Deliveries ended by an attempt", "status")
ATTEMPTS = _counter(
    "attempts", "Webhook attempts, by verdict and what was answered: 2xx to 5xx, or the error", "verdict", "answer"
)
ATTEMPT_SECONDS = _histogram("attempt_seconds", "One attempt, from look-up to the end of the answer", buckets=_SLOW)
FIRST_ATTEMPT_SECONDS = _histogram(
    "first_attempt_seconds", "From an event's append to the begin of its first attempt", buckets=_SLOW
)
ATTEMPTS_IN_FLIGHT = _gauge("attempts_in_flight", "Slots that are taken on this worker")
SLOTS = _gauge("slots", "Attempts that this worker may have in flight")
LEASES_LOST = _counter("leases_lost", "Attempts that were recorded too late, and are made again")
UNRECORDED = _counter("attempts_unrecorded", "Attempts that could not be recorded, and are made again")
HANDSHAKES = _counter("handshakes", "Handshakes: granted, refused, void (the endpoint has changed)", "result")
OUTBOX_MOVED = _counter("operational_events", "Operational events moved into the log")
ENDPOINT_ATTEMPTS = _counter(
    "endpoint_attempts", "Attempts by endpoint, only with HUB_METRICS_PER_ENDPOINT", "endpoint", "verdict"
)

# -- the store, as a process sees it -----------------------------------------------------------------------------------

STORE_ROUND_TRIP_SECONDS = _histogram("store_round_trip_seconds", "From a command to its reply, sampled once per read")
STORE_ERRORS = _counter("store_errors", "Commands that the store refused, by what that means", "kind")
STORE_CONNECTS = _counter("store_connects", "Connections to the store that were made")
STORE_LOSSES = _counter("store_losses", "Connections to the store that were lost")

# -- what is in the store ----------------------------------------------------------------------------------------------

STORE_UP = _stored("store_up", "1 where the store answered this scrape; without an answer nothing below is shown")
STORE_MEMORY_BYTES = _stored("store_memory_bytes", "Memory that the store uses")
STORE_MEMORY_LIMIT_BYTES = _stored("store_memory_limit_bytes", "Its maxmemory; 0 without one")
LOG_EVENTS = _stored("log_events", "Events in the log", "partition")
LOG_BYTES = _stored("log_bytes", "Bytes of the log, roughly", "partition")
LOG_FULL = _stored("log_full", "1 while appends are held back", "partition")
LOG_OLDEST_SECONDS = _stored("log_oldest_seconds", "Age of the oldest event in the log", "partition")
DISPATCH_LAG_SECONDS = _stored(
    "dispatch_lag_seconds", "Age of the oldest event that is not dispatched; 0 without one", "partition"
)
DISPATCH_LEASED = _stored("dispatch_leased", "1 while a worker dispatches the partition", "partition")
QUEUE_DELIVERIES = _stored(
    "queue_deliveries", "Deliveries owed: fresh, retries, waiting for their turn, leased", "state"
)
QUEUE_OLDEST_SECONDS = _stored(
    "queue_oldest_seconds", "Age of the oldest event that an enabled endpoint was not sent yet"
)
QUEUE_OVERDUE_SECONDS = _stored(
    "queue_overdue_seconds", "By how much the most overdue retry of an enabled endpoint is late"
)
ENDPOINTS = _stored("endpoints", "Endpoints: enabled, or why they are disabled", "state")
BREAKERS = _stored("breakers", "Endpoints by their breaker", "state")
OUTBOX_EVENTS = _stored("outbox_events", "Operational events that are not in the log yet")
CENSUS_AGE_SECONDS = _stored("census_age_seconds", "Age of what is said of queues, endpoints and breakers")

# -- the scrape itself -------------------------------------------------------------------------------------------------

SCRAPE_SILENT = _stored("scrape_silent", "Processes of this group that did not answer in time, and are missing here")


@functools.lru_cache(maxsize=4096)
def of_request(method: str, route: str, status: int) -> tuple[Count, Spread]:
    """What a request is counted in. `method` and `route` are those of a declared operation, else `other`."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)
