"""A latency table, its check and a comparison of two, as documents for programs and as text for readers. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from latency_tables.compare import RowRatio, TableComparison
from latency_tables.health import table_warnings
from latency_tables.named_rows import NamedRow, named_rows
from latency_tables.table import LatencyTable
from search.commands.output import columns


def table_document(table: LatencyTable) -> dict[str, Any]:
    """Everything in a table but what its file is about, with its warnings."""
    check = table.end_to_end
    return {
        "device": asdict(table.device) | {"id": table.device.id},
        "key": asdict(table.key),
        "selector": asdict(table.selector),
        "conditions": None if table.provenance.imported_from else _conditions(table),
        "provenance": asdict(table.provenance),
        "end_to_end": asdict(check) | {"is_assumed": check.is_assumed},
        "rows": [{"part": row.part, "num_tokens": row.num_tokens, **asdict(row.time)} for row in named_rows(table)],
        "warnings": list(table_warnings(table)),
        "sha256": table.sha256,
    }


def _conditions(table: LatencyTable) -> dict[str, Any]:
    return asdict(table.conditions) | {"created_at": table.conditions.created_at.isoformat()}


def table_text(table: LatencyTable) -> str:
    """The same for a reader."""
    key = table.key
    lines = [
        f"device      {table.device.id} ({_device_text(table)})",
        f"model       {key.backbone}, batch {key.batch_size}, {key.dtype}, {key.runtime}, {key.num_threads} thread(s)",
        f"selector    {table.selector.kind}, {table.selector.head_weighting}, package {table.selector.package}",
        f"conditions  {_conditions_text(table)}",
        f"error       {_error_text(table)}",
        f"sha256      {table.sha256}",
        "",
        columns([["part", "tokens", "ms", "low", "high"], *map(_row, named_rows(table))]),
        "",
        *[f"warning  {warning}" for warning in table_warnings(table)],
    ]
    return "\n".join(lines)


def _row(row: NamedRow) -> list[str]:
    times = (row.time.median_ms, row.time.low_ms, row.time.high_ms)
    return [row.part, _tokens(row.num_tokens), *(f"{ms:.4f}" for ms in times)]


def _tokens(num_tokens: int | None) -> str:
    return "" if num_tokens is None else str(num_tokens)


def _device_text(table: LatencyTable) -> str:
    device = table.device
    if table.provenance.imported_from:
        return f"imported from {table.provenance.imported_from}"
    names = (device.gpu_name, device.cpu_model, f"{device.logical_cores} cores", f"driver {device.gpu_driver}")
    versions = (f"torch {device.torch_version}", f"timm {device.timm_version}", device.runtime_version)
    return ", ".join(text for text in (*names, *versions) if text not in {"", "driver ", "timm "})


def _conditions_text(table: LatencyTable) -> str:
    conditions = table.conditions
    if table.provenance.imported_from:
        return f"not known: imported {conditions.created_at:%Y-%m-%d %H:%M} UTC"
    pressure = conditions.cpu_pressure_percent
    waited = "" if pressure is None else f", CPU pressure {pressure:.0f} %"
    return (
        f"measured {conditions.created_at:%Y-%m-%d %H:%M %Z}, load average {conditions.load_average:.1f}{waited}, one "
        f"and the same block varied by {conditions.reference_spread_percent:.0f} %"
    )


def _error_text(table: LatencyTable) -> str:
    check = table.end_to_end
    errors = f"{check.median_error_percent:.1f} % median, {check.p90_error_percent:.1f} % for nine in ten"
    if check.is_assumed:
        return f"{errors}: assumed, no complete model was measured"
    return f"{errors}, {check.max_error_percent:.1f} % at most, on {check.num_checked} complete models"


def comparison_document(comparison: TableComparison) -> dict[str, Any]:
    """A comparison for a program."""
    return asdict(comparison) | {
        "rows": [asdict(row) | {"differs": row.differs} for row in comparison.rows],
        "median_ratio": comparison.median_ratio,
        "num_differing": comparison.num_differing,
    }


def comparison_text(comparison: TableComparison) -> str:
    """A comparison for a reader."""
    heading = ["part", "tokens", "A, ms", "B, ms", "B / A of the reference", "low", "high", ""]
    unmatched = f"; {comparison.num_unmatched} rows are in one of them only" if comparison.num_unmatched else ""
    return "\n".join(
        [
            columns([heading, *map(_comparison_row, comparison.rows)]),
            "",
            *[f"differs  {fact.name}: {fact.first} | {fact.second}" for fact in comparison.differences],
            (
                f"B takes {comparison.median_ratio:.3f} times as long as A (median of {len(comparison.rows)} rows), "
                f"its reference block {comparison.reference_ratio:.3f} times; as multiples of the reference "
                f"{comparison.num_differing} rows differ beyond their intervals{unmatched}"
            ),
        ]
    )


def _comparison_row(row: RowRatio) -> list[str]:
    numbers = [f"{row.first_ms:.4f}", f"{row.second_ms:.4f}", f"{row.ratio:.3f}", f"{row.low:.3f}", f"{row.high:.3f}"]
    return [row.part, _tokens(row.num_tokens), *numbers, "differs" if row.differs else ""]
