"""Curves of a latency table: rows by their number of tokens, and those of one level of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from latency_tables.measurement import Measurement
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind

Curve = Mapping[int, Measurement]

# More tokens can truly be faster, as kernels prefer multiples of 16: 47 tokens took 1.44 and 50 tokens 0.97 times the
# same reference (PyTorch's CPU attention, heads of 16 channels, batch 64). Twice as fast is a broken measurement.
_MONOTONE_SLACK = 2.0
# Time grows with the square of the tokens at most; a GPU doubles it from one token to the next where a tile is full.
_JUMP_SLACK = 4.0
_MAX_INTERVAL_FACTOR = 20.0
# A row's interval also holds what differs from run to run, a share of the reference however short the part is: 1.6 %
# (`ratio.repeatable`). A light selector takes less than a thousandth of a block of DeiT-B.
_MAX_INTERVAL_SHARE = 0.05
_MAX_MS = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelRows:
    """What blocks and selections cost in one level: between two poolings all blocks are of one width.

    Attributes:
        blocks: one block by the number of tokens that enter it.
        selections: by the table's own kind of selector; none where the level has a single patch.
        other_selections: by the other kinds.
    """

    blocks: Curve
    selections: Curve = field(default_factory=dict)
    other_selections: Mapping[SelectorKind, Curve] = field(default_factory=dict)

    def check(self, *, num_prefix_tokens: int, num_patches: int, reference_ms: float, prefix: str = "") -> None:
        """Refuses curves that cannot be.

        Args:
            num_prefix_tokens: class and register tokens of the backbone.
            num_patches: patches of the level.
            reference_ms: see `check_row`.
            prefix: of the curves' names in messages.

        Raises:
            LatencyTableError: naming the curve, the row and the column.
        """
        largest = num_prefix_tokens + num_patches
        check_curve(f"{prefix}blocks", self.blocks, num_prefix_tokens + 1, largest, reference_ms=reference_ms)
        if num_patches == 1 and not self.selections:
            return  # nothing to select from
        for name, curve in self._selections():
            check_curve(f"{prefix}{name}", curve, num_prefix_tokens + 2, largest, reference_ms=reference_ms)

    def _selections(self) -> Iterator[tuple[str, Curve]]:
        yield "selections", self.selections
        for kind, curve in self.other_selections.items():
            yield f"selections of {kind}", curve


def check_curve(name: str, curve: Curve, smallest: int, largest: int, *, reference_ms: float) -> None:
    """Refuses a curve that does not reach from the smallest to the largest count, or that cannot be true.

    Raises:
        LatencyTableError: naming the curve, the row and the column.
    """
    counts = list(curve)
    if len(counts) < 2:
        raise LatencyTableError(f"{name} needs at least 2 token counts, but has {len(counts)}.")
    if counts != sorted(counts):
        raise LatencyTableError(f"{name} must be in the order of num_tokens, but got {counts}.")
    # A single patch leaves nothing to select from; the curve then only has to reach the dense count.
    if counts[0] > min(smallest, largest - 1) or not largest <= counts[-1] <= 2 * largest or counts[0] < 1:
        raise LatencyTableError(
            f"{name} must reach from num_tokens={smallest} to num_tokens={largest}, "
            f"but covers {_shown(counts[0])} to {_shown(counts[-1])}."
        )
    for number, (count, row) in enumerate(curve.items(), start=1):
        check_row(f"{name} row {number} (num_tokens={count})", row, reference_ms=reference_ms)
    _check_shape(name, curve)


def _check_shape(name: str, curve: Curve) -> None:
    """Refuses rows that are faster than any with fewer tokens, or slower than more tokens can explain."""
    slowest = next(iter(curve))
    for fewer, more in pairwise(curve):
        slowest = max(slowest, fewer, key=lambda count: curve[count].low_ms)
        if curve[more].high_ms * _MONOTONE_SLACK < curve[slowest].low_ms:
            raise LatencyTableError(
                f"{name}: num_tokens={more} ({curve[more].median_ms:.4g} ms) cannot be faster than "
                f"num_tokens={slowest} ({curve[slowest].median_ms:.4g} ms); the measurement was disturbed."
            )
        if curve[more].low_ms > _JUMP_SLACK * (more / fewer) ** 2 * curve[fewer].high_ms:
            raise LatencyTableError(
                f"{name}: num_tokens={more} ({curve[more].median_ms:.4g} ms) cannot be that much slower than "
                f"num_tokens={fewer} ({curve[fewer].median_ms:.4g} ms); the measurement was disturbed."
            )


def check_row(place: str, row: Measurement, *, reference_ms: float) -> None:
    """Refuses times that no measurement gives: beyond eleven days, or with an interval that says nothing.

    Args:
        place: of the row, for messages.
        row: the row.
        reference_ms: the table's reference block; a part that is short beside it may have a wide interval.

    Raises:
        LatencyTableError: naming the row and the column.
    """
    if row.high_ms > _MAX_MS:
        raise LatencyTableError(f"{place}, column high_ms: must be at most {_MAX_MS:g} ms, but is {row.high_ms:g}.")
    if row.low_ms * _MAX_INTERVAL_FACTOR < row.median_ms:
        raise LatencyTableError(
            f"{place}, column low_ms: must be at least a {_MAX_INTERVAL_FACTOR:g}th of median_ms ({row.median_ms:g}), "
            f"but is {row.low_ms:g}."
        )
    if row.high_ms > row.median_ms * _MAX_INTERVAL_FACTOR + reference_ms * _MAX_INTERVAL_SHARE:
        raise LatencyTableError(
            f"{place}, column high_ms: must be at most {_MAX_INTERVAL_FACTOR:g} times median_ms ({row.median_ms:g}) "
            f"plus {_MAX_INTERVAL_SHARE:g} times the reference ({reference_ms:g}), but is {row.high_ms:g}."
        )


def _shown(count: int) -> str:
    """Python refuses to print whole numbers of more than 4300 digits."""
    return str(count) if abs(count) < 10**9 else "a huge number"
