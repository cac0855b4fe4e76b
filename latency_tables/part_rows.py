"""The parts that a table is made of, by name: what is timed, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from latency_tables.clock import Work
from latency_tables.counts import last_block_counts, selection_counts
from latency_tables.curves import LevelRows
from latency_tables.key import BackboneShape
from latency_tables.measurement import Measurement
from latency_tables.parts import Parts
from latency_tables.ratio import repeatable
from latency_tables.samples import Interleaved
from spvit.options import SelectorKind

Makers = Mapping[str, Callable[[], Work | None]]
"""How to make each workload; some backbones lack some of them."""

BlockCounts = Sequence[Sequence[int]]
"""Token counts at which the blocks of each level are measured."""


def fixed_makers(parts: Parts, shape: BackboneShape, kinds: Sequence[SelectorKind]) -> Makers:
    """Everything that is timed for a table but for whole blocks, whose counts are found while measuring."""
    makers: dict[str, Callable[[], Work | None]] = {"stem": parts.stem, "head": parts.head, "dense": parts.dense}
    makers |= {"pooling": parts.pooling}
    makers |= {_last_block(count): partial(parts.last_block, count) for count in last_block_counts(shape)}
    for level in range(len(shape.geometry.levels)):
        counts = selection_counts(shape, level)
        for kind in kinds if counts else ():
            selections = parts.selections(counts, kind, level)
            makers |= {_selection(level, kind, count): make for count, make in selections.items()}
    return makers


def block_makers(parts: Parts, level: int, counts: Sequence[int]) -> Makers:
    """Whole blocks of a level."""
    return {block_name(level, count): partial(parts.block, count, level) for count in counts}


def level_rows(
    timed: Interleaved, shape: BackboneShape, kinds: Sequence[SelectorKind], block_counts: BlockCounts
) -> list[LevelRows]:
    """The rows of each level; the first kind of selector is the table's own."""
    return [_level_rows(timed, shape, kinds, level, counts) for level, counts in enumerate(block_counts)]


def _level_rows(
    timed: Interleaved, shape: BackboneShape, kinds: Sequence[SelectorKind], level: int, block_counts: Sequence[int]
) -> LevelRows:
    counts = selection_counts(shape, level)
    curves = {kind: {count: row(timed, _selection(level, kind, count)) for count in counts} for kind in kinds}
    return LevelRows(
        blocks={count: row(timed, block_name(level, count)) for count in sorted(block_counts)},
        selections=curves.pop(kinds[0]),
        other_selections=curves if counts else {},
    )


def last_block_rows(timed: Interleaved, shape: BackboneShape) -> dict[int, Measurement]:
    """The rows of the last block; none where it was not timed."""
    counts = [count for count in last_block_counts(shape) if _last_block(count) in timed.workloads]
    return {count: row(timed, _last_block(count)) for count in counts}


def row(timed: Interleaved, name: str) -> Measurement:
    """A part's time, from its ratio to the reference: one that is timed as the reference is gets its very median."""
    return _row(timed, name, timed.reference_ms / timed.self_ratio)


def long_row(timed: Interleaved, name: str) -> Measurement:
    """The time of work many times as long as the reference: its samples are means, as are the reference's pairs."""
    return _row(timed, name, timed.reference_ms)


def _row(timed: Interleaved, name: str, unit_ms: float) -> Measurement:
    ratio = repeatable(timed.ratio(name))
    return Measurement(
        median_ms=ratio.median * unit_ms,
        low_ms=ratio.low * unit_ms,
        high_ms=ratio.high * unit_ms,
        num_samples=ratio.num_samples,
    )


def reference_row(timed: Interleaved) -> Measurement:
    """The reference in milliseconds, with the spread of its plain times (p5 and p95)."""
    low, median, high = (1000.0 * float(t) for t in np.quantile(timed.reference_seconds, [0.05, 0.5, 0.95]))
    return Measurement(median_ms=median, low_ms=low, high_ms=high, num_samples=len(timed.reference_seconds))


def block_name(level: int, count: int) -> str:
    """The name of whole blocks' workload."""
    return f"level {level + 1} block, {count} tokens"


def _last_block(count: int) -> str:
    return f"last block, {count} tokens"


def _selection(level: int, kind: SelectorKind, count: int) -> str:
    return f"level {level + 1} {kind} selection, {count} tokens"
