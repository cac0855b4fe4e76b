"""Prices token plans by one table: a sum of its parts, one plan in microseconds, or many at once in arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import sqrt
from typing import Any

import numpy as np

from latency_tables.end_to_end import checked_plans
from latency_tables.estimate import Floats, LatencyEstimate, LatencyEstimates
from latency_tables.interval import covering_error_percent
from latency_tables.measurement import Measurement
from latency_tables.row_curves import RowCurve, level_curves
from latency_tables.row_weights import Uses, row_weights, uses_of
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.plan_arrays import PlanArrays
from spvit.schedule import Selection, TokenPlan

_CHUNK = 4096
"""Plans priced at once: their weights on the rows of a table stay within a core's own cache."""


class Predictor:
    """The prices of one table. Making one takes longer than pricing a plan: keep it where there are many.

    The mean is scale x (stem + blocks + selections + poolings + head), linear between measured counts. A plan that
    drops nothing is the unpruned model, which was measured as a whole.

    The interval is as wide as complete models were found to be off when the table was measured, which holds what its
    rows are off by (see `covering_error_percent`). A plan whose rows are less sure than those of any of these models
    has a wider one in proportion. Where no model was measured, as for an imported table, the assumed error and that of
    the rows are added in squares. Blocks that lean on the same row err together.
    """

    def __init__(self, table: LatencyTable) -> None:
        self.table = table
        rows: list[Measurement] = []
        self.levels = level_curves(table, rows)
        self._kinds = table.selector_kinds
        self._depth, self._num_prefix = table.geometry.depth, table.geometry.num_prefix_tokens
        self._scale, self._residual = table.end_to_end.scale, covering_error_percent(table.end_to_end) / 100.0
        self._ms = [row.median_ms for row in rows]
        self._below = [row.median_ms - row.low_ms for row in rows]
        self._above = [row.high_ms - row.median_ms for row in rows]
        # What each plan uses once, whatever it keeps.
        fixed = [part for part in (table.stem, table.head, table.pooling) if part is not None]
        self._fixed_ms = sum(part.median_ms for part in fixed)
        self._fixed_below = sum((part.median_ms - part.low_ms) ** 2 for part in fixed)
        self._fixed_above = sum((part.high_ms - part.median_ms) ** 2 for part in fixed)
        self._widest = self._widest_doubt()
        whole = table.dense
        self.dense = LatencyEstimate(mean_ms=whole.median_ms, low_ms=whole.low_ms, high_ms=whole.high_ms)

    def predict(self, plan: TokenPlan) -> LatencyEstimate:
        """The latency of one plan.

        Raises:
            LatencyTableError: the plan has another depth than the table's backbone, token counts outside of its range,
                or a selector that it does not price.
        """
        self._check(len(plan.block_tokens), plan.selector)
        weights = self._weights(plan)
        return self._estimate(weights) if plan.selections else self.dense

    def predict_arrays(self, plans: PlanArrays) -> LatencyEstimates:
        """The latencies of P plans, (P,) each: what `predict` says of every one.

        Raises:
            LatencyTableError: see `predict`.
        """
        starts = range(0, max(len(plans), 1), _CHUNK)
        parts = [self._estimates(plans[start : start + _CHUNK]) for start in starts]
        mean, low, high = (np.concatenate(bounds) for bounds in zip(*parts, strict=True))
        return LatencyEstimates(mean_ms=mean, low_ms=low, high_ms=high)

    def _weights(self, plan: TokenPlan) -> dict[int, float]:
        """How often a plan uses each row."""
        weights: dict[int, float] = {}
        for curve, num_tokens, number in self._parts(plan):
            row, share = curve.place(num_tokens)
            weights[row] = weights.get(row, 0.0) + number * (1.0 - share)
            if share:
                weights[row + 1] = weights.get(row + 1, 0.0) + number * share
        return weights

    def _parts(self, plan: TokenPlan) -> Iterator[tuple[RowCurve, int, int]]:
        """What is used at how many tokens, how often."""
        for level in self.levels:
            end = level.end - 1 if level.last is not None and plan.selections else level.end
            for num_tokens, equal in groupby(plan.block_tokens[level.start : end]):
                yield level.blocks, num_tokens, sum(1 for _ in equal)
            if level.last is not None and plan.selections:
                yield level.last, plan.block_tokens[-1], 1
        for selection in plan.selections:
            yield self._selector_curve(selection, plan.selector), self._num_reaching(selection), 1

    def _selector_curve(self, selection: Selection, kind: SelectorKind | None) -> RowCurve:
        level = next(level for level in self.levels if selection.block < level.end)
        return level.selections[kind or self._kinds[0]]

    def _num_reaching(self, selection: Selection) -> int:
        return self._num_prefix + selection.num_candidates + selection.num_packages_before

    def _sums(self, weights: Mapping[int, float]) -> tuple[float, float, float]:
        """The mean, and the squares of what rows may be off below and above it; not scaled."""
        mean, below, above = self._fixed_ms, self._fixed_below, self._fixed_above
        for row, weight in weights.items():
            mean += weight * self._ms[row]
            below += (weight * self._below[row]) ** 2
            above += (weight * self._above[row]) ** 2
        return mean, below, above

    def _estimate(self, weights: Mapping[int, float]) -> LatencyEstimate:
        mean, below, above = self._sums(weights)
        mean *= self._scale
        low = mean - float(self._half(mean, self._scale * sqrt(below)))
        high = mean + float(self._half(mean, self._scale * sqrt(above)))
        return LatencyEstimate(mean_ms=mean, low_ms=max(low, 0.0), high_ms=high)

    def _half(self, mean: Any, rows: Any) -> Any:
        """Half an interval, from what the mean is and what the rows may be off, in ms; numbers or arrays.

        Never more than both in squares, however sure the rows of the checked models were.
        """
        residual = self._residual * mean
        if self._widest is None:
            return np.hypot(rows, residual)
        if not self._widest:
            return residual
        return np.clip(self._residual * rows / self._widest, residual, np.hypot(rows, residual))

    def _widest_doubt(self) -> float | None:
        """The most that rows leave in doubt, as a share, of the models that were measured; None if none was."""
        check, table = self.table.end_to_end, self.table
        if check.is_assumed:
            return None
        plans = checked_plans(table.geometry, table.selector.package, check.num_checked)
        return max((self._doubt(plan) for plan in plans), default=0.0)

    def _doubt(self, plan: TokenPlan) -> float:
        mean, below, above = self._sums(self._weights(plan))
        return sqrt(max(below, above)) / mean

    def _estimates(self, plans: PlanArrays) -> tuple[Floats, Floats, Floats]:
        """Mean, low and high of some plans."""
        wholes = (self.dense.mean_ms, self.dense.low_ms, self.dense.high_ms)
        is_pruned, parts = plans.is_pruned, self.price(self.uses_of(plans), len(plans))
        mean, low, high = (np.where(is_pruned, part, whole) for part, whole in zip(parts, wholes, strict=True))
        return mean, low, high

    def uses_of(self, plans: PlanArrays) -> list[Uses]:
        """What plans use of this table's curves, as pruned models.

        Raises:
            LatencyTableError: the plans have another depth, or a selector that the table does not price.
        """
        self._check(plans.block_tokens.shape[1], plans.selector)
        return list(uses_of(plans, self.levels, plans.selector or self._kinds[0]))

    def price(self, uses: Sequence[Uses], num_plans: int, *, has_fixed: bool = True) -> tuple[Floats, Floats, Floats]:
        """Mean, low and high, (plans,) each, of work by this table's curves.

        Args:
            uses: all the work.
            num_plans: one more than the largest number of a plan.
            has_fixed: whether each plan has a stem and a head as well.

        Raises:
            LatencyTableError: a count lies outside of what was measured.
        """
        weights = row_weights(uses, num_plans=num_plans, num_rows=len(self._ms))
        mean = self._scale * (has_fixed * self._fixed_ms + weights @ np.array(self._ms))
        squares = weights**2
        below = self._scale * np.sqrt(has_fixed * self._fixed_below + squares @ np.square(self._below))
        above = self._scale * np.sqrt(has_fixed * self._fixed_above + squares @ np.square(self._above))
        return mean, np.maximum(mean - self._half(mean, below), 0.0), mean + self._half(mean, above)

    def _check(self, depth: int, selector: SelectorKind | None) -> None:
        if depth != self._depth:
            raise LatencyTableError(
                f"The latency table is for a backbone of {self._depth} blocks ({self.table.key.backbone}), "
                f"but the plan has {depth}. Measure this backbone with `spvit-search profile EXPERIMENT`."
            )
        if selector is not None:
            self.table.selections_of(selector)  # refuses a kind that was not measured
