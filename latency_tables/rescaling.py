"""A table whose times are all multiplied by one number: for a device that became slower or faster as a whole."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from latency_tables.curves import Curve, LevelRows
from latency_tables.measurement import Measurement

if TYPE_CHECKING:
    from latency_tables.table import LatencyTable


def rescaled(table: LatencyTable, ratio: float) -> LatencyTable:
    """The table with all times multiplied; see `LatencyTable.rescaled`."""
    if not (math.isfinite(ratio) and ratio > 0.0):
        raise ValueError(f"A table is rescaled by a finite number above 0, but got {ratio}.")
    if ratio == 1.0:
        return table
    total = table.provenance.rescaled_by * ratio
    origin = table.sha256 if total != 1.0 else ""
    return replace(
        table,
        stem=_row(table.stem, ratio),
        head=_row(table.head, ratio),
        dense=_row(table.dense, ratio),
        reference=_row(table.reference, ratio),
        blocks=_curve(table.blocks, ratio),
        selections=_curve(table.selections, ratio),
        last_blocks=_curve(table.last_blocks, ratio),
        other_selections={kind: _curve(curve, ratio) for kind, curve in table.other_selections.items()},
        pooling=None if table.pooling is None else _row(table.pooling, ratio),
        deeper_levels=tuple(_level(level, ratio) for level in table.deeper_levels),
        provenance=replace(table.provenance, rescaled_by=total, rescaled_from=origin),
    )


def _level(level: LevelRows, ratio: float) -> LevelRows:
    others = {kind: _curve(curve, ratio) for kind, curve in level.other_selections.items()}
    return LevelRows(
        blocks=_curve(level.blocks, ratio), selections=_curve(level.selections, ratio), other_selections=others
    )


def _curve(curve: Curve, ratio: float) -> dict[int, Measurement]:
    return {count: _row(row, ratio) for count, row in curve.items()}


def _row(row: Measurement, ratio: float) -> Measurement:
    return replace(row, median_ms=ratio * row.median_ms, low_ms=ratio * row.low_ms, high_ms=ratio * row.high_ms)
