"""Bar charts as SVG, written by hand: no library, and the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

COLOURS: Final = {
    "hub": "#0b6bcb",
    "limit": "#8a8f98",
    "nchan": "#2e8b57",
    "socketio": "#b45f06",
    "ws": "#8e44ad",
}
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 150, 70, 15, 14, 58


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: who it is of, its value, and perhaps a smaller one inside it (the median within a p99)."""

    name: str
    value: float
    inner: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    bars: Sequence[Bar]


def bar_chart(title: str, unit: str, groups: Sequence[Group]) -> str:
    """Horizontal bars in groups, all on one scale that begins at zero; `unit` stands below the title."""
    most = max((bar.value for group in groups for bar in group.bars), default=0) or 1
    parts: list[str] = []
    y = TOP
    for group in groups:
        parts.append(_text(LEFT - 8, y + BAR - 3, group.title, "end", "group"))
        for bar in group.bars:
            parts += _bar(bar, y, (WIDTH - LEFT - RIGHT) / most)
            y += BAR + 3
        y += GAP
    names = list(dict.fromkeys(bar.name for group in groups for bar in group.bars))
    style = "text{font:12px sans-serif;fill:#24292f}.title{font:600 15px sans-serif}.group{font-weight:600}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'aria-label="{escape(title)}"><style>{style}</style><rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    )
    head += _text(12, 22, title, "start", "title") + _text(12, 42, unit, "start", "unit")
    return "\n".join([head, *_legend(names), *parts, "</svg>"]) + "\n"


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    colour, width = COLOURS.get(bar.name, "#555"), bar.value * scale
    parts = [f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>']
    label = f"{bar.value:,.2f}" if bar.value < 100 else f"{bar.value:,.0f}"
    if bar.inner is not None:
        parts[0] = parts[0].replace("/>", ' fill-opacity="0.45"/>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{bar.inner * scale:.1f}" height="{BAR}" fill="{colour}"/>')
    parts.append(_text(LEFT + width + 5, y + BAR - 3, label, "start", "value"))
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    if len(names) < 2:
        return []
    parts: list[str] = []
    x = float(WIDTH - RIGHT)
    for name in reversed(names):
        x -= 7 * len(name) + 26
        parts.append(f'<rect x="{x}" y="32" width="11" height="11" fill="{COLOURS.get(name, "#555")}"/>')
        parts.append(_text(x + 15, 42, name, "start", "name"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
