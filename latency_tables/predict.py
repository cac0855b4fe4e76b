"""Latency of token plans, from a table: the sum of their parts, in microseconds of work and without torch."""

from __future__ import annotations

from collections.abc import Sequence

from latency_tables.estimate import LatencyEstimate, LatencyEstimates
from latency_tables.predictor import Predictor
from latency_tables.table import LatencyTable
from spvit.plan_arrays import PlanArrays
from spvit.schedule import TokenPlan

__all__ = [
    "LatencyEstimate",
    "LatencyEstimates",
    "Predictor",
    "predict",
    "predict_arrays",
    "predict_dense",
    "predict_many",
]


def predict(table: LatencyTable, plan: TokenPlan) -> LatencyEstimate:
    """The latency of one plan: see `Predictor`, which is to be kept where plans come one after the other.

    Raises:
        LatencyTableError: the plan has another depth than the table's backbone, token counts outside its range, or a
            selector that it does not price.
    """
    return Predictor(table).predict(plan)


def predict_dense(table: LatencyTable) -> LatencyEstimate:
    """The latency of the unpruned model as it was measured.

    Complete pruned models were measured as ratios to it and the scale fitted to them, so shares of it have no bias. The
    sum of its parts has: 4 to 6 % off, either way, where that of pruned models was 1 %.
    """
    return Predictor(table).dense


def predict_many(table: LatencyTable, plans: Sequence[TokenPlan]) -> list[LatencyEstimate]:
    """The same as `predict` for each plan.

    Raises:
        LatencyTableError: see `predict`.
    """
    predictor = Predictor(table)
    return [predictor.predict(plan) for plan in plans]


def predict_arrays(table: LatencyTable, plans: PlanArrays) -> LatencyEstimates:
    """The same for many plans in arrays: several 100,000 a second, with the making of their arrays.

    Raises:
        LatencyTableError: see `predict`.
    """
    return Predictor(table).predict_arrays(plans)
