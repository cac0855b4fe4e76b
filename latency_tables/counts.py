"""At which token counts a backbone is measured, so that straight lines between them tell the rest."""

from __future__ import annotations

import math

import numpy as np

from latency_tables.key import BackboneShape

# Kernels work in tiles: one token more than a multiple of 16 can cost as much as eight, and one token less can cost a
# quarter more than the full tile (measured, see `table`). So the edges of tiles are measured, and their middles.
_TILE = 16
_MAX_TILES = 20
_NUM_SELECTION_COUNTS = 4


def block_counts(shape: BackboneShape, level: int = 0) -> tuple[int, ...]:
    """Token counts at which a level's blocks are measured: both sides of each tile's edge, its middle, both ends."""
    smallest, largest = shape.smallest_num_tokens, _largest(shape, level)
    tile = _TILE * math.ceil(largest / (_TILE * _MAX_TILES))
    edges = range(tile, largest, tile)
    inner = {count for edge in edges for count in (edge - tile // 2, edge - 1, edge)}
    return tuple(
        sorted({_first(smallest, largest), largest} | {count for count in inner if smallest < count < largest})
    )


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


def _largest(shape: BackboneShape, level: int) -> int:
    """Tokens in every block of a level of the dense model."""
    return shape.num_prefix_tokens + shape.geometry.levels[level].num_patches


def _first(smallest: int, largest: int) -> int:
    """The first count; below the largest even where nothing can be pruned, so that there is a curve."""
    return max(1, min(smallest, largest - 1))
