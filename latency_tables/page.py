"""A table as one HTML page that needs no network: its curves with their intervals, and how it was measured."""

from __future__ import annotations

from datetime import UTC
from html import escape
from pathlib import Path

from latency_tables.chart import describe, draw_chart
from latency_tables.curves import Curve
from latency_tables.html_page import html_page
from latency_tables.table import EndToEndCheck, LatencyTable
from spvit.errors import StorageError

BODY = """{charts}
<p>Point at a mark (or reach it with the Tab key) to see its row. Bars are 90 % intervals.</p>
<table>{facts}</table>"""


def save_page(table: LatencyTable, path: Path) -> None:
    """Writes the page; everything that comes from the table is escaped.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_page(table), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"Cannot write the page {path}: {error.strerror or error}.") from error


def render_page(table: LatencyTable) -> str:
    """The page as text."""
    title = f"Latency table: {table.key.backbone}, batch {table.key.batch_size}, {table.key.dtype}, {table.key.runtime}"
    charts = [_chart(table, level) for level in range(len(table.levels))]
    facts = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in _facts(table))
    return html_page(title, BODY.format(charts="\n".join(charts), facts=facts))


def _chart(table: LatencyTable, level: int) -> str:
    heading = f"<h2>Level {level + 1}</h2>\n" if table.deeper_levels else ""
    return heading + draw_chart(curves_of(table, level), f"latency by number of tokens, level {level + 1}")


def curves_of(table: LatencyTable, level: int) -> dict[str, Curve]:
    """The curves of a level by names for people."""
    curves: dict[str, Curve] = {"one block": table.levels[level].blocks}
    if level == 0:
        curves["last block, class token only"] = table.last_blocks
    curves |= {
        f"{kind} selector, gather and package": table.selections_of(kind, level) for kind in table.selector_kinds
    }
    return curves


def _facts(table: LatencyTable) -> list[tuple[str, str]]:
    key, check, conditions = table.key, table.end_to_end, table.conditions
    parts = [("whole dense model", table.dense), ("stem", table.stem), ("head", table.head), ("pooling", table.pooling)]
    return [
        ("device", key.device_id),
        ("threads", str(key.num_threads)),
        *((name, describe(row)) for name, row in parts if row is not None),
        ("prediction error", _errors(check)),
        ("scale", f"{check.scale:.4f} x the sum of the parts"),
        ("measured", f"{conditions.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
        ("load average", _before_and_after(conditions.load_average, conditions.load_average_after)),
        ("CPU pressure (%)", _before_and_after(conditions.cpu_pressure_percent, conditions.cpu_pressure_percent_after)),
        ("spread of one block", f"{conditions.reference_spread_percent:.0f} %"),
        ("pinned to cores", ", ".join(map(str, conditions.pinned_cores)) or "none"),
        ("usable cores", "unknown" if conditions.usable_cores is None else str(conditions.usable_cores)),
        ("compiling and exporting", f"{conditions.preparation_s:.1f} s"),
        ("SHA-256", table.sha256),
    ]


def _errors(check: EndToEndCheck) -> str:
    return (
        f"{check.median_error_percent:.1f} % median, {check.p90_error_percent:.1f} % in nine of ten, "
        f"{check.max_error_percent:.1f} % at most, on {check.num_checked} complete models"
    )


def _before_and_after(before: float | None, after: float | None) -> str:
    known = [f"{number:.1f}" for number in (before, after) if number is not None]
    return " before, ".join(known) + (" after" if len(known) == 2 else "") if known else "unknown"
