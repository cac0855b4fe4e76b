"""The pictures of how a search went: hypervolume over time, importances, and a slice for each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any

from search.history import Moment, history
from search.importance import Importances
from search.records import StudyRecord, TrialState
from search.slices import SlicePoint, slices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 90
"""Small files: they travel with every study."""
NUM_COLUMNS = 3
MAX_SLICES = 15
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"


def analysis_pictures(study: StudyRecord, found: Importances) -> Mapping[str, bytes]:
    """PNG files by name: `history`, `importance`, `slices`. What is missing for one is said in it."""
    return {
        "history": draw_history(history(study)),
        "importance": draw_importances(found),
        "slices": draw_slices(slices(study)),
    }


def draw_history(moments: Sequence[Moment]) -> bytes:
    """Hypervolume over trials, epochs and minutes."""
    figure = _figure(width=10.0, height=3.4)
    if not moments:
        return _saying(figure, "No trial has ended yet.")
    measures: tuple[tuple[str, list[float | None]], ...] = (
        ("trials that ended", [float(m.num_trials) for m in moments]),
        ("epochs trained", [float(m.num_epochs) for m in moments]),
        ("minutes since the start", [None if m.elapsed_s is None else m.elapsed_s / 60 for m in moments]),
    )
    for number, (name, places) in enumerate(measures, start=1):
        axes = figure.add_subplot(1, len(measures), number)
        known = [(place, m.hypervolume) for place, m in zip(places, moments, strict=True) if place is not None]
        if known:
            xs, ys = zip(*known, strict=True)
            axes.step(xs, ys, where="post", color=BLUE, marker="o", markersize=3)
        _dress(axes, xlabel=name, ylabel="hypervolume (% x ms)" if number == 1 else "")
    return _png(figure)


def draw_importances(found: Importances) -> bytes:
    """Two bars for each parameter: of top-1, and of top-1 beyond what latency explains."""
    figure = _figure(width=7.0, height=1.6 + 0.45 * len(found.rows))
    if not found.rows:
        return _saying(figure, f"Importances cannot be told: {found.note}.")
    axes, rows = figure.add_subplot(), list(reversed(found.rows))
    places = range(len(rows))
    axes.barh([p + 0.2 for p in places], [r.beyond_latency for r in rows], 0.38, color=BLUE, label="at equal latency")
    axes.barh([p - 0.2 for p in places], [r.top1 for r in rows], 0.38, color=GREY, label="top-1")
    axes.set_yticks(list(places), [row.name for row in rows])
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _dress(axes, xlabel=f"share of the variance between {found.num_trials} trials explained (fANOVA)", ylabel="")
    return _png(figure)


def draw_slices(points: Sequence[SlicePoint]) -> bytes:
    """Top-1 (dots; triangles where stopped early) and latency (crosses) over the values of each parameter."""
    names = list(dict.fromkeys(point.parameter for point in points))[:MAX_SLICES]
    num_rows = max(1, ceil(len(names) / NUM_COLUMNS))
    figure = _figure(width=10.0, height=2.7 * num_rows)
    if not names:
        return _saying(figure, "No trial of the search space has been trained yet.")
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(num_rows, NUM_COLUMNS, number)
        _draw_slice(axes, [point for point in points if point.parameter == name])
        _dress(axes, xlabel=name, ylabel="top-1 (%)" if number % NUM_COLUMNS == 1 else "")
    return _png(figure)


def _draw_slice(axes: Axes, points: Sequence[SlicePoint]) -> None:
    twin = axes.twinx()
    places = _places([point.value for point in points])
    if _is_wide(places) and not points[0].parameter.endswith("_share"):
        axes.set_xscale("log")
    twin.scatter(places, [p.latency_ms for p in points], marker="x", s=14, color=ORANGE, alpha=0.6)
    twin.tick_params(labelsize=7, colors=ORANGE)
    twin.set_ylabel("latency (ms)", fontsize=7, color=ORANGE)
    for state, colour, marker in ((TrialState.COMPLETE, BLUE, "o"), (TrialState.PRUNED, GREY, "^")):
        chosen = [(place, p.top1) for place, p in zip(places, points, strict=True) if p.state is state]
        axes.scatter([x for x, _ in chosen], [y for _, y in chosen], s=16, color=colour, marker=marker)
    labels = [str(value) for value in dict.fromkeys(point.value for point in points)]
    if any(isinstance(point.value, str | bool) for point in points):
        axes.set_xticks(range(len(labels)), labels, rotation=20)


def _places(values: Sequence[Any]) -> list[float]:
    """The values themselves; the numbers of categories."""
    if any(isinstance(value, str | bool) for value in values):
        order = {value: float(number) for number, value in enumerate(dict.fromkeys(values))}
        return [order[value] for value in values]
    return [float(value) for value in values]


def _is_wide(places: Sequence[float]) -> bool:
    return min(places) > 0 and max(places) / min(places) > 20


def _dress(axes: Axes, *, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, alpha=0.25)


def _figure(*, width: float, height: float) -> Figure:
    # Figure without pyplot: no global state, no display, safe beside other drawings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _saying(figure: Figure, text: str) -> bytes:
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, wrap=True)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
