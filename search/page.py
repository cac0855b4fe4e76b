"""The picture of a study's front as one HTML page that needs no network: an SVG whose points tell what they are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from latency_tables.html_page import html_page
from search.plot_data import PlotData, PlotPoint, PointKind

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 60
# Okabe and Ito's colours; each kind has a shape of its own as well.
COLOURS = {
    PointKind.PRUNED: "#999999",
    PointKind.COMPLETE: "#56B4E9",
    PointKind.FRONT: "#0072B2",
    PointKind.BASELINE: "#D55E00",
    PointKind.DENSE: "#000000",
}
BODY = """<p class="legend">{legend}</p>
{svg}
<p>Point at a mark (or reach it with the Tab key) to see its trial. Latency is predicted from the latency table.</p>"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Maps latency and top-1 to the picture's coordinates."""

    latencies: tuple[float, float]
    top1s: tuple[float, float]

    def x(self, latency_ms: float) -> float:
        """Horizontal position."""
        low, high = self.latencies
        return LEFT + (latency_ms - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, top1: float) -> float:
        """Vertical position; SVG counts from the top."""
        low, high = self.top1s
        return HEIGHT - BOTTOM - (top1 - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def write_page(data: PlotData, path: Path, pictures: Mapping[str, bytes] | None = None) -> None:
    """Write the page of a study; everything that comes from the study is escaped.

    Args:
        data: what the front's picture shows.
        path: where to.
        pictures: PNG files by what they show, put below the front.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(data, pictures), encoding="utf-8")


def render_page(data: PlotData, pictures: Mapping[str, bytes] | None = None) -> str:
    """The page as text; see `write_page`."""
    scale = Scale(
        latencies=_padded([*(p.latency_ms for p in data.points), *data.budgets_ms]),
        top1s=_padded([p.top1 for p in data.points]),
    )
    body = [*_grid(scale), *(_budget(budget_ms, scale) for budget_ms in data.budgets_ms), _steps(data.front, scale)]
    body += [_mark(point, scale) for point in data.points]
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(data.title)}">{"".join(body)}</svg>'
    below = "".join(_picture(name, content) for name, content in (pictures or {}).items())
    return html_page(data.title, BODY.format(legend=_legend(data), svg=svg) + below)


def _picture(name: str, content: bytes) -> str:
    """A picture within the page itself, which so remains one file."""
    text = b64encode(content).decode("ascii")
    style = "max-width: 100%"
    return f'\n<h2>{escape(name)}</h2><img style="{style}" alt="{escape(name)}" src="data:image/png;base64,{text}">'


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _ticks(low: float, high: float, count: int = 6) -> Iterable[float]:
    return (low + (high - low) * i / (count - 1) for i in range(count))


def _grid(scale: Scale) -> Iterable[str]:
    for value in _ticks(*scale.latencies):
        x = scale.x(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text class="axis" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:.3g}</text>'
    for value in _ticks(*scale.top1s):
        y = scale.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>'
    middle = (HEIGHT - BOTTOM + TOP) / 2
    yield (
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">'
        f"predicted latency per batch (ms)</text>"
        f'<text class="axis" transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">'
        f"validation top-1 (%)</text>"
    )


def _budget(budget_ms: float, scale: Scale) -> str:
    x = scale.x(budget_ms)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#CC79A7" stroke-width="2" '
        f'stroke-dasharray="7 5"/><text class="axis" x="{x - 6:.1f}" y="{HEIGHT - BOTTOM - 8}" text-anchor="end">'
        f"budget {budget_ms:.3g} ms</text>"
    )


def _steps(front: Sequence[tuple[float, float]], scale: Scale) -> str:
    path = ""
    for latency_ms, top1 in front:
        x, y = scale.x(latency_ms), scale.y(top1)
        path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
    return f'<path d="{path}" fill="none" stroke="#0072B2" stroke-opacity=".6" stroke-width="1.6"/>' if path else ""


def _mark(point: PlotPoint, scale: Scale) -> str:
    x, y = scale.x(point.latency_ms), scale.y(point.top1)
    text = escape("\n".join(point.lines))
    common = f'class="point" tabindex="0" data-text="{text}" aria-label="{text}" fill="{COLOURS[point.kind]}"'
    match point.kind:
        case PointKind.BASELINE:
            return f'<rect {common} x="{x - 6:.1f}" y="{y - 6:.1f}" width="12" height="12"/>'
        case PointKind.DENSE:
            return f'<path {common} d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z"/>'
        case PointKind.PRUNED:
            return f'<path {common} fill-opacity=".6" d="M{x:.1f} {y - 6:.1f}l6 10h-12z"/>'
        case PointKind.FRONT:
            return f'<circle {common} cx="{x:.1f}" cy="{y:.1f}" r="7"/>'
        case PointKind.COMPLETE:
            return f'<circle {common} cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def _legend(data: PlotData) -> str:
    shapes = {PointKind.BASELINE: "■", PointKind.DENSE: "◆", PointKind.PRUNED: "▲"}
    return "".join(
        f'<span><b style="color:{COLOURS[kind]}">{shapes.get(kind, "●")}</b> {escape(kind.value)} '
        f"({len(data.of_kind(kind))})</span>"
        for kind in PointKind
        if data.of_kind(kind)
    )
