"""Traces, by OpenTelemetry: an event's publish, append, fan-out and every attempt are spans of one trace.

What joins them is the W3C trace context that the event carries (core.origin). Without HUB_TRACES there are no spans;
what a publisher sent as `traceparent` then goes to the partner as it came.
"""

import contextlib
import functools
from collections.abc import Generator, Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Tracer

from hub import VERSION
from hub.core.origin import parse
from hub.settings import Settings, SettingsError

Value = str | int | float | bool
FLUSH_MS: Final = 2000
"""What the end of a process waits for its last spans to be taken."""


def configure(settings: Settings, role: str) -> None:
    """Send spans by OTLP where HUB_TRACES asks for it; where to, and which, OpenTelemetry's own variables say."""
    if settings.traces == "off":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError("HUB_TRACES=otlp needs packages that aren't installed: pip install 'hub[traces]'") from None
    named = Resource({"service.name": "hub", "service.version": VERSION, "hub.role": role})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer.cache_clear()


def flush() -> None:
    """Send what is left, for at most FLUSH_MS."""
    force: object = getattr(trace.get_tracer_provider(), "force_flush", None)
    if callable(force):
        force(FLUSH_MS)


@functools.cache
def tracer() -> Tracer | None:
    """The tracer, or None where nobody wants spans."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider.get_tracer("hub", VERSION)


class _Without:
    """In place of a span where nobody wants any: gives the parent that it was given."""

    __slots__ = ("_parent",)

    def __init__(self, parent: str | None) -> None:
        self._parent = parent

    def __enter__(self) -> str | None:
        return self._parent

    def __exit__(self, *raised: object) -> None:
        """Nothing ends."""


_NO_STEP: Final = _Without(None)


def span(
    name: str, parent: str | None, kind: SpanKind, **attributes: Value
) -> contextlib.AbstractContextManager[str | None]:
    """A span around a block; gives the `traceparent` for what follows from it.

    `parent` is a traceparent, or None for a trace of its own. Where traces are off it is what is given.
    """
    making = tracer()
    return _Without(parent) if making is None else _span(making, name, parent, kind, attributes)


def step(name: str, **attributes: Value) -> contextlib.AbstractContextManager[str | None]:
    """A span within the one around it; none where there is none."""
    making = tracer()
    if making is None or not trace.get_current_span().is_recording():
        return _NO_STEP
    return _step(making, name, attributes)


@contextlib.contextmanager
def _span(
    making: Tracer, name: str, parent: str | None, kind: SpanKind, attributes: Mapping[str, Value]
) -> Generator[str | None]:
    with making.start_as_current_span(name, _context(parent), kind, _named(attributes)) as made:
        yield _traceparent(made)


@contextlib.contextmanager
def _step(making: Tracer, name: str, attributes: Mapping[str, Value]) -> Generator[str | None]:
    with making.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=_named(attributes)):
        yield None


def record(name: str, origin: str, began: int, ended: int, **attributes: Value) -> None:
    """A span of something that is over, in the trace of an event's origin. Times are ns since the epoch."""
    making, parent = tracer(), parse(origin).traceparent
    if making is not None and parent is not None:
        made = making.start_span(name, _context(parent), SpanKind.CONSUMER, _named(attributes), start_time=began)
        made.end(ended)


def note(error: str | None, **attributes: Value | None) -> None:
    """Say how it went, on the span around this."""
    if tracer() is None:
        return
    current = trace.get_current_span()
    current.set_attributes(_named({name: value for name, value in attributes.items() if value is not None}))
    if error is not None:
        current.set_attribute("error.type", error)
        current.set_status(trace.StatusCode.ERROR, error)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """`http_status` as hub.http_status."""
    return {f"hub.{name}": value for name, value in attributes.items()}


def _context(traceparent: str | None) -> Context:
    if traceparent is None:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    parent = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(int(flags, 16))
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def _traceparent(made: Span) -> str:
    at = made.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags):02x}"
