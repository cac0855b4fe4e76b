"""Curves with intervals as an SVG: lines, a mark and a bar for each row, and texts to point at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from latency_tables.curves import Curve
from latency_tables.measurement import Measurement

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 60
# Okabe and Ito's colours, which stay apart for every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_NUM_TICKS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """Maps token counts and milliseconds, both from 0 on, to the picture's coordinates."""

    max_tokens: int
    max_ms: float

    def x(self, num_tokens: float) -> float:
        """Horizontal position."""
        return LEFT + num_tokens / self.max_tokens * (WIDTH - LEFT - RIGHT)

    def y(self, ms: float) -> float:
        """Vertical position; SVG counts from the top."""
        return HEIGHT - BOTTOM - ms / self.max_ms * (HEIGHT - TOP - BOTTOM)


def draw_chart(curves: Mapping[str, Curve], title: str) -> str:
    """An SVG of these curves by their names, with a legend; names and title are escaped.

    Raises:
        ValueError: there is nothing to draw.
    """
    shown = {name: curve for name, curve in curves.items() if curve}
    if not shown:
        raise ValueError("A chart needs at least one curve.")
    axes = Axes(
        max_tokens=max(max(curve) for curve in shown.values()),
        max_ms=1.05 * max(row.high_ms for curve in shown.values() for row in curve.values()),
    )
    body = list(_grid(axes))
    for number, (name, curve) in enumerate(shown.items()):
        body += _curve(name, curve, COLOURS[number % len(COLOURS)], axes)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    return f'<p class="legend">{_legend(shown)}</p>\n{svg}'


def _grid(axes: Axes) -> Iterable[str]:
    for tick in range(_NUM_TICKS):
        count = axes.max_tokens * tick / (_NUM_TICKS - 1)
        ms = axes.max_ms * tick / (_NUM_TICKS - 1)
        x, y = axes.x(count), axes.y(ms)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text class="axis" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{count:.0f}</text>'
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{ms:.3g}</text>'
    middle = (HEIGHT - BOTTOM + TOP) / 2
    yield (
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">tokens</text>'
        f'<text class="axis" transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">'
        "latency of a batch (ms)</text>"
    )


def _curve(name: str, curve: Curve, colour: str, axes: Axes) -> Iterable[str]:
    points = " ".join(f"{axes.x(count):.1f},{axes.y(row.median_ms):.1f}" for count, row in curve.items())
    yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-opacity=".6" stroke-width="1.6"/>'
    for count, row in curve.items():
        yield _mark(name, count, row, colour, axes)


def _mark(name: str, count: int, row: Measurement, colour: str, axes: Axes) -> str:
    x = axes.x(count)
    low, middle, high = axes.y(row.low_ms), axes.y(row.median_ms), axes.y(row.high_ms)
    bar = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
    text = escape("\n".join((f"{name}, {count} tokens", describe(row))))
    return (
        f'<path d="{bar}" stroke="{colour}" fill="none"/>'
        f'<circle class="point" tabindex="0" data-text="{text}" aria-label="{text}" fill="{colour}" '
        f'cx="{x:.1f}" cy="{middle:.1f}" r="4"/>'
    )


def describe(row: Measurement) -> str:
    """A row in words."""
    return (
        f"{row.median_ms:.4g} ms (90 % interval {row.low_ms:.4g} to {row.high_ms:.4g}, "
        f"{row.num_samples} sample{'' if row.num_samples == 1 else 's'})"
    )


def _legend(curves: Mapping[str, Curve]) -> str:
    return "".join(
        f'<span><b style="color:{COLOURS[number % len(COLOURS)]}">●</b> {escape(name)}</span>'
        for number, name in enumerate(curves)
    )
