"""The picture of a study's front as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.plot_data import PlotData, PointKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which stay apart for every kind of colour vision; shapes say the same again.
STYLES: dict[PointKind, dict[str, Any]] = {
    PointKind.PRUNED: {"color": "#999999", "marker": "^", "s": 28, "alpha": 0.55},
    PointKind.COMPLETE: {"color": "#56B4E9", "marker": "o", "s": 34, "alpha": 0.85},
    PointKind.FRONT: {"color": "#0072B2", "marker": "o", "s": 62, "edgecolors": "white"},
    PointKind.BASELINE: {"color": "#D55E00", "marker": "s", "s": 62, "edgecolors": "white"},
    PointKind.DENSE: {"color": "#000000", "marker": "D", "s": 56, "edgecolors": "white"},
}


def draw_front(data: PlotData, path: Path) -> None:
    """Write the picture of a study to a PNG file: top-1 over predicted latency, the front and the budget."""
    # Figure without pyplot: no global state, no display, safe beside other drawings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _draw(axes, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw(axes: Axes, data: PlotData) -> None:
    if len(data.front) > 1:
        latencies, top1s = zip(*data.front, strict=True)
        axes.step(latencies, top1s, where="post", color="#0072B2", linewidth=1.2, alpha=0.6, zorder=2)
    for depth, (kind, style) in enumerate(STYLES.items(), start=3):
        if points := data.of_kind(kind):
            axes.scatter(
                [p.latency_ms for p in points], [p.top1 for p in points], label=kind.value, zorder=depth, **style
            )
    for budget_ms in data.budgets_ms:
        label = f"budget {budget_ms:.3g} ms"
        axes.axvline(budget_ms, color="#CC79A7", linestyle="--", linewidth=1.4, label=label, zorder=1)
    axes.set(xlabel="predicted latency per batch (ms)", ylabel="validation top-1 (%)", title=data.title)
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best", fontsize=9)
