"""What is kept and told of an attempt."""

from hub.core.event import now_text
from hub.store.attempts import Attempt
from hub.store.queues import Lease
from hub.store.records import delivery_id, parse_ref
from hub.telemetry import logger
from workers.sender import Answer
from workers.settle import Owner
from workers.verdict import Decision


def recorded(lease: Lease, began: float, answer: Answer) -> Attempt:
    """The attempt as it is stored; `began` is in seconds since the epoch."""
    return Attempt(
        number=lease.attempt,
        at=now_text(int(began * 1000)),
        duration_ms=answer.duration_ms,
        status=answer.status,
        error=answer.error,
        headers=answer.headers,
        body=answer.body,
    )


def report(owner: Owner, lease: Lease, answer: Answer, decision: Decision) -> None:
    """The attempt's one wide line."""
    logger().info(
        "attempt",
        event_id=lease.event,
        type=lease.type,
        endpoint=owner.endpoint,
        delivery=delivery_id(parse_ref(lease.ref), owner.endpoint),
        attempt=lease.attempt,
        status=answer.status,
        duration_ms=answer.duration_ms,
        error=answer.error,
        verdict=decision.verdict,
        next_delay=round(decision.delay, 1) if decision.verdict == "retry" else None,
        request_id=lease.request_id,
    )
