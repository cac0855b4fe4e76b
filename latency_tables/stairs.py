"""Staircases: token counts that cost the same, as far as a measured curve can tell.

Kernels work in tiles, so that a curve may be level over many counts and then step up. All counts of a plateau cost the
same, and the one that keeps most tokens is at its right edge: that is what a schedule is snapped to. At the left edge,
one token behind the plateau before, a whole step is paid for a single token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from latency_tables.curves import Curve
from latency_tables.table import LatencyTable

_MOST_RISE = 0.01
"""Of the medians on one plateau: wide intervals of a disturbed measurement make nothing level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plateau:
    """Token counts `first` to `last`, both included, that cost the same."""

    first: int
    last: int
    ms: float

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last or not self.ms > 0.0:
            raise ValueError(f"A plateau needs 1 <= first <= last and a time above 0 ms, but got {self}.")


def plateaus(curve: Curve, *, most_rise: float = _MOST_RISE) -> tuple[Plateau, ...]:
    """A curve as plateaus, which follow each other without a gap from its first to its last measured count.

    Measured counts are on one plateau as long as their medians are within the interval of its first one, and hardly
    above its median: always that one, so that a slope is not taken for level step by step. The most that one of them
    takes is the plateau's time. Between two plateaus nothing was measured: there each count is a plateau of its own, on
    the straight line that predictions follow.

    Args:
        curve: the measured rows.
        most_rise: how far a median of a plateau may be above that of its first count, as a share of it.
    """
    levels = list(_levels(curve, most_rise))
    found = levels[:1]
    for before, after in pairwise(levels):
        found += [*_slope(curve, before.last, after.first), after]
    return tuple(found)


def snap(num_tokens: int, stairs: Sequence[Plateau]) -> int:
    """The most tokens that cost no more: the right edge of this count's plateau, or of what follows while time falls.

    Never a step up: what lies behind one that is cheaper again is not looked for.

    Args:
        num_tokens: how many there are.
        stairs: what `plateaus` found.

    Raises:
        ValueError: the count lies outside of the stairs.
    """
    if not stairs or not stairs[0].first <= num_tokens <= stairs[-1].last:
        covered = f"{stairs[0].first} to {stairs[-1].last}" if stairs else "no"
        raise ValueError(f"{num_tokens} tokens lie outside of the stairs, which cover {covered} tokens.")
    number = bisect_right(stairs, num_tokens, key=lambda plateau: plateau.first) - 1
    while number + 1 < len(stairs) and stairs[number + 1].ms <= stairs[number].ms:
        number += 1
    return stairs[number].last


def level_plateaus(table: LatencyTable) -> tuple[tuple[Plateau, ...], ...]:
    """The plateaus of the blocks of each level of a table's backbone.

    Intervals of an imported table are mostly assumed and tell nothing of noise: there only what costs no more is level.
    """
    most_rise = 0.0 if table.provenance.imported_from else _MOST_RISE
    return tuple(plateaus(rows.blocks, most_rise=most_rise) for rows in table.levels)


def _levels(curve: Curve, most_rise: float) -> Iterator[Plateau]:
    """Plateaus that begin and end at measured counts."""
    counts = list(curve)
    start = 0
    for end in range(1, len(counts) + 1):
        first = curve[counts[start]]
        most_ms = min(first.high_ms, (1.0 + most_rise) * first.median_ms)
        if end < len(counts) and first.low_ms <= curve[counts[end]].median_ms <= most_ms:
            continue
        slowest_ms = max(curve[count].median_ms for count in counts[start:end])
        yield Plateau(first=counts[start], last=counts[end - 1], ms=slowest_ms)
        start = end


def _slope(curve: Curve, before: int, after: int) -> Iterator[Plateau]:
    """Each count between two measured ones, on a straight line."""
    start_ms, end_ms = curve[before].median_ms, curve[after].median_ms
    for count in range(before + 1, after):
        share = (count - before) / (after - before)
        yield Plateau(first=count, last=count, ms=start_ms + share * (end_ms - start_ms))
