"""The parts that a table is made of, by name: what is timed, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency_tables.clock import Work
from latency_tables.counts import block_counts, last_block_counts, selection_counts
from latency_tables.curves import LevelRows
from latency_tables.key import BackboneShape
from latency_tables.measurement import Measurement
from latency_tables.parts import Parts
from latency_tables.ratio import repeatable
from latency_tables.timing import Interleaved
from spvit.options import SelectorKind


def part_workloads(parts: Parts, shape: BackboneShape, kinds: Sequence[SelectorKind]) -> dict[str, Work]:
    """Everything that is timed for a table."""
    workloads = {"stem": parts.stem(), "head": parts.head(), "dense": parts.dense()}
    optional = {"pooling": parts.pooling()}
    optional |= {f"last block {count}": parts.last_block(count) for count in last_block_counts(shape)}
    workloads |= {name: work for name, work in optional.items() if work is not None}
    for level in range(len(shape.geometry.levels)):
        workloads |= _level_workloads(parts, shape, kinds, level)
    return workloads


def _level_workloads(parts: Parts, shape: BackboneShape, kinds: Sequence[SelectorKind], level: int) -> dict[str, Work]:
    workloads = {_block(level, count): parts.block(count, level) for count in block_counts(shape, level)}
    counts = selection_counts(shape, level)
    for kind in kinds if counts else ():
        selections = parts.selections(counts, kind, level)
        workloads |= {_selection(level, kind, count): work for count, work in selections.items()}
    return workloads


def level_rows(timed: Interleaved, shape: BackboneShape, kinds: Sequence[SelectorKind]) -> list[LevelRows]:
    """The rows of each level; the first kind of selector is the table's own."""
    return [_level_rows(timed, shape, kinds, level) for level in range(len(shape.geometry.levels))]


def _level_rows(timed: Interleaved, shape: BackboneShape, kinds: Sequence[SelectorKind], level: int) -> LevelRows:
    counts = selection_counts(shape, level)
    curves = {kind: {count: row(timed, _selection(level, kind, count)) for count in counts} for kind in kinds}
    return LevelRows(
        blocks={count: row(timed, _block(level, count)) for count in block_counts(shape, level)},
        selections=curves.pop(kinds[0]),
        other_selections=curves if counts else {},
    )


def last_block_rows(timed: Interleaved, shape: BackboneShape) -> dict[int, Measurement]:
    """The rows of the last block; none where it was not timed."""
    counts = [count for count in last_block_counts(shape) if f"last block {count}" in timed.workloads]
    return {count: row(timed, f"last block {count}") for count in counts}


def row(timed: Interleaved, name: str) -> Measurement:
    """A part's time, from its ratio to the reference."""
    ratio = repeatable(timed.ratio(name))
    return Measurement(
        median_ms=ratio.median * timed.reference_ms,
        low_ms=ratio.low * timed.reference_ms,
        high_ms=ratio.high * timed.reference_ms,
        num_samples=ratio.num_samples,
    )


def reference_row(timed: Interleaved) -> Measurement:
    """The reference in milliseconds, with the spread of its plain times (p5 and p95)."""
    low, median, high = (1000.0 * float(t) for t in np.quantile(timed.reference_seconds, [0.05, 0.5, 0.95]))
    return Measurement(median_ms=median, low_ms=low, high_ms=high, num_samples=len(timed.reference_seconds))


def _block(level: int, count: int) -> str:
    return f"level {level} block {count}"


def _selection(level: int, kind: SelectorKind, count: int) -> str:
    return f"level {level} {kind} selection {count}"
