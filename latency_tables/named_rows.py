"""Every row of a table with the name of its part, for whoever shows or compares them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from latency_tables.curves import Curve, LevelRows
from latency_tables.measurement import Measurement
from latency_tables.table import LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRow:
    """One row. `num_tokens` is None for parts that have none, such as the stem."""

    part: str
    num_tokens: int | None
    time: Measurement

    @property
    def place(self) -> tuple[str, int | None]:
        """What no two rows of a table share."""
        return self.part, self.num_tokens


def named_rows(table: LatencyTable) -> Iterator[NamedRow]:
    """What is there once, then the curves of each level."""
    for name in ("stem", "head", "dense", "pooling"):
        if (time := getattr(table, name)) is not None:
            yield NamedRow(part=name, num_tokens=None, time=time)
    yield from _curve("last block", table.last_blocks)
    for number, rows in enumerate(table.levels, start=1):
        yield from _level("" if number == 1 else f"level {number}: ", rows, table)


def _level(prefix: str, rows: LevelRows, table: LatencyTable) -> Iterator[NamedRow]:
    yield from _curve(f"{prefix}block", rows.blocks)
    for kind, curve in {table.selector.kind: rows.selections, **rows.other_selections}.items():
        yield from _curve(f"{prefix}selection {kind}", curve)


def _curve(part: str, curve: Curve) -> Iterator[NamedRow]:
    for count, time in curve.items():
        yield NamedRow(part=part, num_tokens=count, time=time)
