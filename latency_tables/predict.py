"""Latency of a token plan, from a table: the sum of its parts, in microseconds of work and without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from latency_tables.measurement import Measurement
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.schedule import PruningSchedule, TokenPlan

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyEstimate:
    """Predicted milliseconds for one batch, with an interval that covers about nine in ten models."""

    mean_ms: float
    low_ms: float
    high_ms: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_ms <= self.mean_ms <= self.high_ms:
            raise ValueError(f"An estimate needs 0 <= low_ms <= mean_ms <= high_ms, but got {self}.")


def predict(table: LatencyTable, plan: TokenPlan) -> LatencyEstimate:
    """The latency of one plan: scale x (stem + blocks + selections + poolings + head), linear between measured counts.

    A plan that drops nothing is the unpruned model, which was measured as a whole.

    Raises:
        LatencyTableError: the plan has another depth than the table's backbone, or token counts outside its range.
    """
    return predict_many(table, [plan])[0]


def predict_dense(table: LatencyTable) -> LatencyEstimate:
    """The latency of the unpruned model as it was measured.

    Complete pruned models were measured as ratios to it and the scale fitted to them, so shares of it have no bias. The
    sum of its parts has: 4 to 6 % off, either way, where that of pruned models was 1 %.
    """
    return predict(table, PruningSchedule().plan(table.geometry))


def predict_many(table: LatencyTable, plans: Sequence[TokenPlan]) -> list[LatencyEstimate]:
    """The same as `predict` for each plan.

    The interval adds two independent errors in squares: that of the table's rows, and the p90 error of complete models
    that was found when the table was measured. Blocks that lean on the same row err together.

    Raises:
        LatencyTableError: see `predict`.
    """
    if not plans:
        return []
    weights = _row_weights(table, plans)
    rows = _rows(table)
    scale = table.end_to_end.scale
    mean = scale * weights @ np.array([row.median_ms for row in rows])
    residual = mean * table.end_to_end.p90_error_percent / 100.0
    below = np.hypot(scale * _spread(weights, [row.median_ms - row.low_ms for row in rows]), residual)
    above = np.hypot(scale * _spread(weights, [row.high_ms - row.median_ms for row in rows]), residual)
    bounds = zip(mean, np.maximum(mean - below, 0.0), mean + above, strict=True)
    sums = [LatencyEstimate(mean_ms=float(m), low_ms=float(low), high_ms=float(high)) for m, low, high in bounds]
    whole = table.dense
    dense = LatencyEstimate(mean_ms=whole.median_ms, low_ms=whole.low_ms, high_ms=whole.high_ms)
    return [estimate if plan.selections else dense for estimate, plan in zip(sums, plans, strict=True)]


def _rows(table: LatencyTable) -> list[Measurement]:
    rows = list(chain.from_iterable(_level_rows(table, level) for level in range(len(table.levels))))
    return [*rows, *_fixed(table)]


def _fixed(table: LatencyTable) -> list[Measurement]:
    """What each plan uses once, whatever it keeps."""
    return [part for part in (table.stem, table.head, table.pooling) if part is not None]


def _level_rows(table: LatencyTable, level: int) -> list[Measurement]:
    """Rows of whole blocks, of the last block and of all kinds of selections."""
    last = table.last_blocks if level == 0 else {}
    selections = [row for kind in table.selector_kinds for row in table.selections_of(kind, level).values()]
    return [*table.levels[level].blocks.values(), *last.values(), *selections]


def _row_weights(table: LatencyTable, plans: Sequence[TokenPlan]) -> Floats:
    """How often each plan uses each row, fractions from interpolation; shape (plans, rows)."""
    parts = [_plan_weights(table, plan) for plan in plans]
    return np.hstack([np.stack(parts), np.ones((len(plans), len(_fixed(table))))])


def _plan_weights(table: LatencyTable, plan: TokenPlan) -> Floats:
    """Weights on the rows of blocks and selections of all levels; shape (rows - fixed rows,)."""
    _check_depth(table, plan)
    levels = range(len(table.levels))
    return np.concatenate(
        [weights(table, plan, level) for level in levels for weights in (_block_weights, _selection_weights)]
    )


def _selection_weights(table: LatencyTable, plan: TokenPlan, level: int) -> Floats:
    """Weights on a level's rows of the plan's kind of selector, and 0 on the others; shape (selection rows,)."""
    counts, wanted = _selection_counts(table, plan, level), plan.selector or table.selector.kind
    table.selections_of(wanted)  # refuses a kind that was not measured
    curves = {kind: tuple(table.selections_of(kind, level)) for kind in table.selector_kinds}
    part = _named("selector", level)
    return np.concatenate([_weights(part, curve, counts if kind is wanted else ()) for kind, curve in curves.items()])


def _block_weights(table: LatencyTable, plan: TokenPlan, level: int) -> Floats:
    """Weights on a level's rows of whole blocks, then on those of the last one; shape (block rows + last-block rows,).

    The unpruned model is timm's own, which computes its last block in full.
    """
    counts, part = _block_counts(table, plan, level), _named("block", level)
    measured = tuple(table.levels[level].blocks)
    if level or not table.last_blocks:
        return _weights(part, measured, counts)
    whole, last = (counts[:-1], counts[-1:]) if plan.selections else (counts, [])
    return np.concatenate([_weights(part, measured, whole), _weights(part, tuple(table.last_blocks), last)])


def _named(part: str, level: int) -> str:
    return f"{part} of level {level + 1}" if level else part


def _check_depth(table: LatencyTable, plan: TokenPlan) -> None:
    if len(plan.block_tokens) != table.geometry.depth:
        raise LatencyTableError(
            f"The latency table is for a backbone of {table.geometry.depth} blocks ({table.key.backbone}), "
            f"but the plan has {len(plan.block_tokens)}. Measure this backbone with `spvit-search profile EXPERIMENT`."
        )


def _block_counts(table: LatencyTable, plan: TokenPlan, level: int) -> list[int]:
    start = table.geometry.level_starts[level]
    return list(plan.block_tokens[start : start + table.geometry.levels[level].num_blocks])


def _selection_counts(table: LatencyTable, plan: TokenPlan, level: int) -> list[int]:
    geometry = table.geometry
    return [
        geometry.num_prefix_tokens + selection.num_candidates + selection.num_packages_before
        for selection in plan.selections
        if geometry.level_of(selection.block) == level
    ]


def _weights(part: str, measured: tuple[int, ...], counts: Iterable[int]) -> Floats:
    """Summed linear interpolation weights of `counts` on the measured ones; shape (measured,)."""
    wanted = np.fromiter(counts, dtype=np.float64)
    if not wanted.size:
        return np.zeros(len(measured))
    _check_range(part, measured, wanted)
    knots = np.array(measured, dtype=np.float64)
    right = np.clip(np.searchsorted(knots, wanted), 1, len(knots) - 1)
    share = (wanted - knots[right - 1]) / (knots[right] - knots[right - 1])
    weights = np.zeros(len(knots))
    np.add.at(weights, right - 1, 1.0 - share)
    np.add.at(weights, right, share)
    return weights


def _check_range(part: str, measured: tuple[int, ...], wanted: Floats) -> None:
    if not measured:
        raise LatencyTableError(f"The latency of a {part} is unknown: there is but a single patch.")
    outside = wanted[(wanted < measured[0]) | (wanted > measured[-1])]
    if outside.size:
        raise LatencyTableError(
            f"The latency of a {part} at {int(outside[0])} tokens is unknown: the table was measured from "
            f"{measured[0]} to {measured[-1]} tokens and is never extrapolated. "
            "Measure this backbone with `spvit-search profile EXPERIMENT`."
        )


def _spread(weights: Floats, half_widths: Sequence[float]) -> Floats:
    return np.asarray(np.sqrt(((weights * np.array(half_widths)) ** 2).sum(axis=1)))
