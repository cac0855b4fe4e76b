"""Where a number of tokens lies between the measured rows of a curve. Never beyond them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_tables.curves import Curve
from latency_tables.measurement import Measurement
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCurve:
    """A curve among all rows of a table, by their numbers.

    Attributes:
        part: what it is the latency of, for messages.
        counts: measured numbers of tokens, rising; none where nothing can be measured.
        first_row: number of the row of the first count; the others follow.
    """

    part: str
    counts: tuple[int, ...]
    first_row: int

    def place(self, num_tokens: int) -> tuple[int, float]:
        """The row at or below this many tokens, and the share (0 to 1) that the next row has in it.

        Raises:
            LatencyTableError: the count lies outside of what was measured.
        """
        counts = self.counts
        if not counts or not counts[0] <= num_tokens <= counts[-1]:
            raise self._unknown(num_tokens)
        right = max(1, bisect_left(counts, num_tokens))
        left = right - 1
        return self.first_row + left, (num_tokens - counts[left]) / (counts[right] - counts[left])

    def places(self, num_tokens: Ints) -> tuple[Ints, Floats]:
        """The same for an array of counts: rows and shares of its shape.

        Raises:
            LatencyTableError: a count lies outside of what was measured.
        """
        if not num_tokens.size:
            return np.zeros(num_tokens.shape, dtype=np.int64), np.zeros(num_tokens.shape)
        lowest, highest = int(num_tokens.min()), int(num_tokens.max())
        for bound in (lowest, highest):
            self.place(bound)
        placed = [self.place(count) for count in range(lowest, highest + 1)]
        rows, shares = np.array([row for row, _ in placed]), np.array([share for _, share in placed])
        return rows[num_tokens - lowest], shares[num_tokens - lowest]

    def _unknown(self, num_tokens: int) -> LatencyTableError:
        if not self.counts:
            return LatencyTableError(f"The latency of a {self.part} is unknown: there is but a single patch.")
        return LatencyTableError(
            f"The latency of a {self.part} at {num_tokens} tokens is unknown: the table was measured from "
            f"{self.counts[0]} to {self.counts[-1]} tokens and is never extrapolated. "
            "Measure this backbone with `spvit-search profile EXPERIMENT`."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelCurves:
    """The curves of one level, whose first block is `start`.

    `last` is of the last block of a pruned model, where that computes its prefix tokens alone; None where it is a block
    like the others.
    """

    start: int
    end: int
    blocks: RowCurve
    last: RowCurve | None
    selections: Mapping[SelectorKind, RowCurve]


def level_curves(table: LatencyTable, rows: list[Measurement]) -> tuple[LevelCurves, ...]:
    """The curves of each level of a table, whose rows are added to `rows`."""
    return tuple(_of_level(table, number, rows) for number in range(len(table.levels)))


def _of_level(table: LatencyTable, number: int, rows: list[Measurement]) -> LevelCurves:
    start, suffix = table.geometry.level_starts[number], f" of level {number + 1}" if number else ""

    def numbered(part: str, curve: Curve) -> RowCurve:
        made = RowCurve(part=part + suffix, counts=tuple(curve), first_row=len(rows))
        rows.extend(curve.values())
        return made

    return LevelCurves(
        start=start,
        end=start + table.geometry.levels[number].num_blocks,
        blocks=numbered("block", table.levels[number].blocks),
        last=numbered("block", table.last_blocks) if table.last_blocks and not number else None,
        selections={kind: numbered("selector", table.selections_of(kind, number)) for kind in table.selector_kinds},
    )
