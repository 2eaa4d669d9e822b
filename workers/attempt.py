"""What is kept and told of an attempt."""

from hub import metrics
from hub.core.event import now_text
from hub.store.attempts import Attempt
from hub.store.queues import Lease
from hub.store.records import delivery_id, parse_ref
from hub.telemetry import wide
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


def count(owner: Owner, lease: Lease, began: float, answer: Answer, verdict: str, per_endpoint: bool) -> None:
    """Count an attempt; `began` is in seconds since the epoch."""
    kind = answer.error if answer.status is None else f"{answer.status // 100}xx"
    metrics.ATTEMPTS.labels(verdict, kind or "none").inc()
    metrics.ATTEMPT_SECONDS.observe(answer.duration_ms / 1000)
    if lease.attempt == 1:
        metrics.FIRST_ATTEMPT_SECONDS.observe(max(0.0, began - parse_ref(lease.ref).ms / 1000))
    if per_endpoint:
        metrics.ENDPOINT_ATTEMPTS.labels(owner.endpoint, verdict).inc()


def report(owner: Owner, lease: Lease, answer: Answer, decision: Decision) -> None:
    """The attempt's one wide line."""
    line = {
        "event_id": lease.event,
        "type": lease.type,
        "endpoint": owner.endpoint,
        "delivery": delivery_id(parse_ref(lease.ref), owner.endpoint),
        "attempt": lease.attempt,
        "status": answer.status,
        "duration_ms": answer.duration_ms,
        "error": answer.error,
        "verdict": decision.verdict,
        "next_delay": round(decision.delay, 1) if decision.verdict == "retry" else None,
        "request_id": lease.origin.request_id,
    }
    wide("attempt", line)
