"""Structured logs: one wide line per request and per attempt, JSON for machines and columns for people."""

import logging
import os
import sys
from typing import Any, TypeAlias

import structlog

from hub.settings import Settings

Logger: TypeAlias = Any
"""structlog's bound logger; its own annotation is Any."""


def configure(settings: Settings, role: str) -> None:
    """Set up the process's logging. `role` (web, worker, dev, …) and the pid stand on every line."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=shared + (last if as_json else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role, pid=os.getpid())
    # Libraries log through the standard module: only their faults pass. Uvicorn's own lines would hold whole URLs,
    # tokens included, and repeat what the hub has logged already.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def logger() -> Logger:
    return structlog.get_logger()
