"""Structured logs: one wide line per request and per attempt, JSON for machines and columns for people."""

import functools
import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
import structlog

from hub.settings import Settings

Logger: TypeAlias = Any
"""structlog's bound logger; its own annotation is Any."""
Line: TypeAlias = MutableMapping[str, Any]


def configure(settings: Settings, role: str) -> None:
    """Set up the process's logging. `role` (web, worker, dev, …) and the pid stand on every line."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    last: list[Any] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    if as_json:
        last = [structlog.processors.format_exc_info, _render]
    structlog.configure(
        processors=[_stamp(role, os.getpid()), *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer) if as_json
        else structlog.WriteLoggerFactory(sys.stderr),
    )  # fmt: skip
    logger.cache_clear()
    # Libraries log through the standard module: only their faults pass. Uvicorn's own lines would hold whole URLs,
    # tokens included, and repeat what the hub has logged already.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@functools.cache  # a line per request and per attempt: finding the logger each time costs as much as the line
def logger() -> Logger:
    return structlog.get_logger().bind()


def _stamp(role: str, pid: int) -> Callable[[Logger, str, Line], Line]:
    """What stands on every line, unless it says otherwise: one about a child has the child's pid."""

    def stamp(_logger: Logger, level: str, line: Line) -> Line:
        line.setdefault("role", role)
        line.setdefault("pid", pid)
        line["level"] = level
        line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return line

    return stamp


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _render(_logger: Logger, _level: str, line: Line) -> bytes:
    return _encode(line)
