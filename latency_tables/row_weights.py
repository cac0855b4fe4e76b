"""How often plans use each row of a table: what their latency is a sum over. In arrays, for many plans at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latency_tables.estimate import Floats
from latency_tables.row_curves import Ints, LevelCurves, RowCurve
from spvit.options import SelectorKind
from spvit.plan_arrays import PlanArrays


@dataclass(frozen=True, kw_only=True, slots=True)
class Uses:
    """Work that one curve prices, in arrays of one shape.

    Attributes:
        curve: what it is priced by.
        plans: the number of the plan that does it.
        num_tokens: at how many tokens.
        shares: how much of a whole such part it is; 1 where absent.
    """

    curve: RowCurve
    plans: Ints
    num_tokens: Ints
    shares: Floats | None = None


def within_measured(use: Uses) -> Uses:
    """The same with every count brought within what was measured: a larger one costs in proportion to the largest."""
    smallest, largest = use.curve.counts[0], use.curve.counts[-1]
    excess = np.maximum(use.num_tokens / largest, 1.0)
    shares = excess if use.shares is None else excess * use.shares
    return replace(use, num_tokens=np.clip(use.num_tokens, smallest, largest), shares=shares)


def row_weights(uses: Sequence[Uses], *, num_plans: int, num_rows: int) -> Floats:
    """How often each plan uses each row, fractions from interpolation; shape (plans, rows).

    Raises:
        LatencyTableError: a count lies outside of what was measured.
    """
    places, weights = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for use in uses:
        rows, right = use.curve.places(use.num_tokens)
        whole = np.ones(right.shape) if use.shares is None else use.shares
        left_places = use.plans * num_rows + rows
        # The last row has no next one, and no share of it: its place may be that of another curve.
        places += [left_places, left_places + (right > 0.0)]
        weights += [whole * (1.0 - right), whole * right]
    flat_places, flat_weights = (np.concatenate([array.ravel() for array in arrays]) for arrays in (places, weights))
    sums: Floats = np.bincount(flat_places, flat_weights, minlength=num_plans * num_rows).astype(np.float64, copy=False)
    return sums.reshape(num_plans, num_rows)


def uses_of(plans: PlanArrays, levels: Sequence[LevelCurves], kind: SelectorKind) -> Iterator[Uses]:
    """What plans use of all levels, as pruned models: the last block computes its prefix tokens alone.

    Args:
        plans: all of the table's depth.
        levels: the table's curves.
        kind: of the selectors.
    """
    for level in levels:
        yield _uses(level.blocks, plans.block_tokens, level.start, level.end - (level.last is not None))
        if level.last is not None:
            yield _uses(level.last, plans.block_tokens, level.end - 1, level.end)
        blocks, reached = plans.selection_blocks, plans.selection_tokens
        inside = (reached > 0) & (blocks >= level.start) & (blocks < level.end)
        yield Uses(curve=level.selections[kind], plans=np.nonzero(inside)[0], num_tokens=reached[inside])


def _uses(curve: RowCurve, block_tokens: Ints, start: int, end: int) -> Uses:
    """Blocks from `start` up to `end`."""
    num_tokens = block_tokens[:, start:end]
    numbers = np.arange(len(num_tokens))[:, np.newaxis]
    return Uses(curve=curve, plans=np.broadcast_to(numbers, num_tokens.shape), num_tokens=num_tokens)
