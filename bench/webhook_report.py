"""The webhook benchmark's tables, and their place in BENCHMARKS.md."""

from typing import Any

Row = dict[str, Any]


def line(row):
    return " ".join(f"{k}={v:.2f}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items())


def section(rows):
    return ""
