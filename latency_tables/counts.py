"""At which token counts a backbone is measured, so that straight lines between them tell the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from latency_tables.key import BackboneShape
from latency_tables.ratio import RatioEstimate

# Kernels work in tiles: one token more than a multiple of 16 can cost as much as sixteen, and one token less can cost a
# quarter more than the full tile (decision 16). Where that shows anywhere, all edges of tiles are measured.
_TILE = 16
_MAX_TILES = 20
_GPU_TILE = 8
_MAX_GPU_TILES = 96
_MAX_GPU_TILES_WITH_BOTH_SIDES = 32
_NUM_SELECTION_COUNTS = 4
_MAX_SMOOTH_COUNTS = 16

_SURE = 2.5
"""Half-widths of the 90 % interval that a disagreement must exceed: those of few samples are a little too narrow."""
_WORTHWHILE_STEP = 0.05
"""Smaller steps are left to lie within the line: 2 to 4 % before multiples of 16 on DeiT-S, under 1 % of a model."""
_WORTHWHILE_BEND = 0.02
"""Smaller bends as well: beside a measured count the line errs by a quarter of this."""


def first_counts(shape: BackboneShape, level: int = 0) -> tuple[int, ...]:
    """About seven counts of a level's blocks to begin with on a CPU: both ends, a middle, both sides of two edges."""
    smallest, largest = _ends(shape, level)
    tile = _tile(largest)
    below, above = (_edge_near(smallest + (largest - smallest) * share, tile) for share in (1 / 3, 2 / 3))
    middle = (below + above) // 2 // tile * tile + tile // 2
    return _within(smallest, largest, (below, below + 1, middle, above - 1, above))


def next_counts(measured: Mapping[int, RatioEstimate]) -> tuple[int, ...]:
    """Further counts that would tell more about a curve; none where straight lines between these do.

    One sure step between neighbouring counts, and all edges of tiles are wanted: steps come in rows. Where there is
    none, intervals are halved in which a straight line past a measured count misses it by more than noise.

    Args:
        measured: what is known so far, from the smallest to the largest count.
    """
    counts = sorted(measured)
    smallest, largest = counts[0], counts[-1]
    if any(_is_step(measured, counts, number) for number in range(len(counts) - 1)):
        return tuple(count for count in edge_counts(smallest, largest) if count not in measured)
    room = max(0, _MAX_SMOOTH_COUNTS - len(counts))
    return tuple(sorted(_halves(measured, _apart(counts, _tile(largest) // 2), _tile(largest)))[:room])


def edge_counts(smallest: int, largest: int) -> tuple[int, ...]:
    """Both ends, and for each tile's edge the counts around it and the middle before it."""
    tile = _tile(largest)
    edges = range(tile, largest + 1, tile)
    return _within(
        smallest, largest, (count for edge in edges for count in (edge - tile // 2, edge - 1, edge, edge + 1))
    )


def gpu_counts(shape: BackboneShape, level: int = 0) -> tuple[int, ...]:
    """Counts of a level's blocks on a GPU: every multiple of 8, and one more token where those are few."""
    smallest, largest = _ends(shape, level)
    tile = _GPU_TILE * math.ceil(largest / (_GPU_TILE * _MAX_GPU_TILES))
    edges = range(tile, largest + 1, tile)
    sides = (0, 1) if len(edges) <= _MAX_GPU_TILES_WITH_BOTH_SIDES else (0,)
    return _within(smallest, largest, (edge + side for edge in edges for side in sides))


def selection_counts(shape: BackboneShape, level: int = 0) -> tuple[int, ...]:
    """Token counts at which a selector is measured: it is made of matrix products alone and has no steps.

    None in a level of a single patch, where there is nothing to select from.
    """
    smallest, largest = shape.smallest_selection, _largest(shape, level)
    if largest < smallest:
        return ()
    counts = np.linspace(_first(smallest, largest), largest, _NUM_SELECTION_COUNTS)
    return tuple(int(count) for count in np.unique(np.rint(counts)))


def last_block_counts(shape: BackboneShape) -> tuple[int, ...]:
    """Token counts at which the last block is measured: with a few queries it has no steps either."""
    smallest, largest = shape.smallest_num_tokens, shape.geometry.num_tokens
    counts = np.linspace(_first(smallest, largest), largest, _NUM_SELECTION_COUNTS)
    return tuple(int(count) for count in np.unique(np.rint(counts)))


def _is_step(measured: Mapping[int, RatioEstimate], counts: Sequence[int], number: int) -> bool:
    """Whether the way to the next count is a step: they are neighbours, and the line around both says otherwise."""
    fewer, more = counts[number], counts[number + 1]
    outer = counts[max(number - 1, 0)], counts[min(number + 2, len(counts) - 1)]
    if more - fewer > 1 or outer == (fewer, more):
        return False
    slope = (measured[outer[1]].median - measured[outer[0]].median) / (outer[1] - outer[0])
    jump = measured[more].median - measured[fewer].median - slope
    noise = math.hypot(_half_width(measured[fewer]), _half_width(measured[more]))
    return abs(jump) > max(_SURE * noise, _WORTHWHILE_STEP * measured[more].median)


def _halves(measured: Mapping[int, RatioEstimate], counts: Sequence[int], tile: int) -> set[int]:
    """Middles of the intervals beside each count that the line between its neighbours misses."""
    middles: set[int] = set()
    for left, count, right in zip(counts, counts[1:], counts[2:], strict=False):
        share = (count - left) / (right - left)
        line = (1.0 - share) * measured[left].median + share * measured[right].median
        weights = {left: 1.0 - share, count: 1.0, right: share}
        noise = math.hypot(*(weight * _half_width(measured[at]) for at, weight in weights.items()))
        if abs(measured[count].median - line) > max(_SURE * noise, _WORTHWHILE_BEND * measured[count].median):
            middles |= {(a + b) // 2 for a, b in pairwise((left, count, right)) if b - a >= tile}
    return middles - measured.keys()


def _half_width(estimate: RatioEstimate) -> float:
    return (estimate.high - estimate.low) / 2.0


def _apart(counts: Sequence[int], distance: int) -> list[int]:
    """Counts of which each is so far behind the one before; the last one always."""
    kept = [counts[0]]
    for count in counts[1:-1]:
        if count - kept[-1] >= distance and counts[-1] - count >= distance:
            kept.append(count)
    return [*kept, counts[-1]]


def _within(smallest: int, largest: int, inner: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted({smallest, largest} | {count for count in inner if smallest < count < largest}))


def _tile(largest: int) -> int:
    return _TILE * math.ceil(largest / (_TILE * _MAX_TILES))


def _edge_near(count: float, tile: int) -> int:
    return max(1, round(count / tile)) * tile


def _ends(shape: BackboneShape, level: int) -> tuple[int, int]:
    largest = _largest(shape, level)
    return _first(shape.smallest_num_tokens, largest), largest


def _largest(shape: BackboneShape, level: int) -> int:
    """Tokens in every block of a level of the dense model."""
    return shape.num_prefix_tokens + shape.geometry.levels[level].num_patches


def _first(smallest: int, largest: int) -> int:
    """The first count; below the largest even where nothing can be pruned, so that there is a curve."""
    return max(1, min(smallest, largest - 1))
