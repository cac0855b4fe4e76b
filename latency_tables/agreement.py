"""Whether two tables of one model say the same: part by part, as multiples of the reference, with both intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from latency_tables.curves import Curve
from latency_tables.measurement import Measurement
from latency_tables.table import LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class RowPair:
    """One part in two tables, each time as a multiple of the table's reference block.

    Milliseconds of two runs differ with the clock of the machine, which is why tables are measured in such ratios.
    """

    name: str
    first: Measurement
    second: Measurement

    @property
    def overlaps(self) -> bool:
        """Whether the difference is within the two intervals. Of equal parts about 98 in 100 do at 90 % intervals."""
        return self.first.low_ms <= self.second.high_ms and self.second.low_ms <= self.first.high_ms

    @property
    def difference_percent(self) -> float:
        """By how much the second median differs from the first."""
        return 100.0 * (self.second.median_ms / self.first.median_ms - 1.0)


def row_pairs(first: LatencyTable, second: LatencyTable) -> list[RowPair]:
    """Every part that both tables have, at token counts that both have."""
    theirs = dict(_rows(second))
    return [RowPair(name=name, first=row, second=theirs[name]) for name, row in _rows(first) if name in theirs]


def _rows(table: LatencyTable) -> Iterator[tuple[str, Measurement]]:
    unit = 1.0 / table.reference.median_ms
    for name, part in (("stem", table.stem), ("head", table.head), ("dense", table.dense), ("pooling", table.pooling)):
        if part is not None:
            yield name, _times(part, unit)
    for name, curve in _curves(table):
        yield from ((f"{name} at {count} tokens", _times(row, unit)) for count, row in curve.items())


def _curves(table: LatencyTable) -> Iterator[tuple[str, Curve]]:
    yield "last block", table.last_blocks
    for number, rows in enumerate(table.levels):
        yield f"block of level {number + 1}", rows.blocks
        for kind in table.selector_kinds:
            yield f"{kind} selector of level {number + 1}", table.selections_of(kind, number)


def _times(row: Measurement, factor: float) -> Measurement:
    return Measurement(
        median_ms=row.median_ms * factor,
        low_ms=row.low_ms * factor,
        high_ms=row.high_ms * factor,
        num_samples=row.num_samples,
    )
