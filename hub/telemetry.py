"""Structured logs: one wide line per request and per attempt, JSON for machines and columns for people."""

import asyncio
import atexit
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, BinaryIO, TypeAlias

import msgspec
import structlog

from hub.settings import Settings

Logger: TypeAlias = Any
"""structlog's bound logger; its own annotation is Any."""
Line: TypeAlias = MutableMapping[str, Any]


def configure(settings: Settings, role: str) -> None:
    """Set up the process's logging. `role` (web, worker, dev, …) and the pid stand on every line."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    last = _render if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    stamp, level = _stamp(role, os.getpid()), logging.getLevelNamesMapping()[settings.log_level.upper()]
    lines = _Lines(sys.stderr.buffer)
    structlog.configure(
        processors=[stamp, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lines if as_json else structlog.WriteLoggerFactory(sys.stderr),
    )
    logger.cache_clear()
    global _wide
    _wide = (lambda line, of: lines.msg(_encode(stamp(None, of, line)))) if as_json and level <= logging.INFO else None
    # Libraries log through the standard module: only their faults pass. Uvicorn's own lines would hold whole URLs,
    # tokens included, and repeat what the hub has logged already.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@functools.cache  # a line per request and per attempt: finding the logger each time costs as much as the line
def logger() -> Logger:
    return structlog.get_logger().bind()


_wide: Callable[[Line, str], None] | None = None


def wide(event: str, line: dict[str, Any], level: str = "info") -> None:
    """Write the wide line of a request or an attempt. Nearly all are such; structlog costs each twice that."""
    if _wide is None:
        getattr(logger(), level)(event, **line)
    else:
        line["event"] = event
        _wide(line, level)


class _Lines:
    """structlog's innermost logger, and the factory of it: writes the lines of one loop tick by one call of the system.

    Each request has a line, and a busy process answers many in a tick.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._waiting: list[bytes] = []
        atexit.register(self._write)

    def __call__(self, *_names: object) -> "_Lines":
        return self

    def msg(self, line: bytes) -> None:
        self._waiting.append(line)
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:  # no loop runs, as before it begins
                self._write()

    debug = info = warning = error = critical = exception = msg

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        if lines:
            self._out.write(b"\n".join(lines) + b"\n")
            self._out.flush()


def _stamp(role: str, pid: int) -> Callable[[Logger, str, Line], Line]:
    """What stands on every line, unless it says otherwise: one about a child has the child's pid."""
    second, text = 0, ""

    def stamp(_logger: Logger, level: str, line: Line) -> Line:
        nonlocal second, text
        now = time.time_ns()
        if now // 1_000_000_000 != second:
            second = now // 1_000_000_000
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line.setdefault("role", role)
        line.setdefault("pid", pid)
        line["level"] = level
        line["timestamp"] = f"{text}.{now // 1000 % 1_000_000:06}Z"
        return line

    return stamp


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _render(logger: Logger, level: str, line: Line) -> bytes:
    return _encode(structlog.processors.format_exc_info(logger, level, line) if "exc_info" in line else line)
