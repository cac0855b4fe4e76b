"""The picture of a table: what one block and one selector cost by their number of tokens, in each level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.measurement import Measurement
from latency_tables.table import LatencyTable
from spvit.errors import StorageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_plot(table: LatencyTable, path: Path) -> None:
    """Writes a PNG of each level's two curves with their 90 % intervals.

    Raises:
        StorageError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, level in enumerate(table.levels, start=1):
        where = f", level {number}" if table.deeper_levels else ""
        _draw_curve(axes, level.blocks, f"one block{where}")
        _draw_curve(axes, level.selections, f"selector, gather and package token{where}")
    key = table.key
    axes.set_title(f"{key.backbone}, batch {key.batch_size}, {key.dtype}, {key.runtime}\n{key.device_id}")
    axes.set_xlabel("tokens")
    axes.set_ylabel("latency (ms)")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise StorageError(f"Cannot write the plot {path}: {error.strerror or error}.") from error


def _draw_curve(axes: Axes, curve: Mapping[int, Measurement], label: str) -> None:
    if not curve:
        return
    rows = list(curve.values())
    below = [row.median_ms - row.low_ms for row in rows]
    above = [row.high_ms - row.median_ms for row in rows]
    axes.errorbar(
        list(curve),
        [row.median_ms for row in rows],
        yerr=[below, above],
        marker="o",
        markersize=3,
        capsize=3,
        label=label,
    )
