"""Latency where every image keeps a number of tokens of its own: from the distribution of counts, not from their mean.

Latency is convex in tokens, or a staircase, and a padded batch is as slow as its longest image: at the mean count a
model looks faster than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from latency_tables.estimate import LatencyEstimate, LatencyEstimates
from latency_tables.group_prices import GroupPrices
from latency_tables.predictor import Predictor
from latency_tables.row_weights import within_measured
from latency_tables.table import LatencyTable
from spvit.adaptive_plans import kept_counts, padded_plans
from spvit.bucketed_work import bucketed_work
from spvit.options import Serving
from spvit.plan_arrays import Ints, PlanArrays
from spvit.schedule import TokenPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveEstimate:
    """Predicted milliseconds of batches whose images keep what their content needs.

    Attributes:
        mean: over batches; its interval is the mean of theirs, since they lean on one table and err together.
        p50_ms: half of the batches take this long or less.
        p95_ms: 95 in 100 do.
        num_batches: whole batches among the images; with a batch size of 1 these are images.
        num_beyond: batches that packages make longer than the dense model, and so than what is measured, somewhere:
            where one image keeps all its patches and another one has a package. There they are priced in proportion to
            the most tokens that were measured.
    """

    mean: LatencyEstimate
    p50_ms: float
    p95_ms: float
    num_batches: int
    num_beyond: int


def predict_adaptive(
    table: LatencyTable,
    plan: TokenPlan,
    num_kept: ArrayLike,
    *,
    serving: Serving = Serving.PADDED,
    bucket: int = 8,
    other_batches: Sequence[LatencyTable] = (),
) -> AdaptiveEstimate:
    """The latency of the adaptive form in batches of the table's size, in the order of the images.

    Padded batches are as long as their longest image. Buckets are priced one by one at the number of their images, on a
    straight line between tables of smaller and larger batches. A selector that has a single patch to look at is priced
    as if it had two, the fewest that are measured. What is not priced: masks, and moving images between buckets.

    Args:
        table: of the batch size that is served.
        plan: of the model; its selections are those that `num_kept` has columns for.
        num_kept: (images, selections) patches that stay, such as `AdaptiveOutput.num_kept` of many images.
        serving: how images of one batch go through the network together.
        bucket: see `AdaptiveViT`; only for buckets.
        other_batches: tables of the same model at other batch sizes, which buckets need: one image can be alone.

    Raises:
        LatencyTableError: no table is of so few images, or prices the plan's selectors.
        ValueError: the counts do not fit the plan, or there are fewer images than one batch has.
    """
    kept = kept_counts(plan, num_kept, geometry=table.geometry, package=table.selector.package)
    size = table.key.batch_size
    if serving is Serving.PADDED:
        plans = padded_plans(kept, size)
        return _summary(_padded(Predictor(table), plans), plans.block_tokens.max(axis=1), table)
    work, num_batches = list(bucketed_work(kept, size, bucket)), kept.num_batches(size)
    longest = np.zeros(num_batches, dtype=np.int64)
    np.maximum.at(longest, [step.batch for step in work], [step.num_tokens for step in work])
    return _summary(GroupPrices(table, other_batches).batches(work, num_batches, plan.selector), longest, table)


def _padded(predictor: Predictor, plans: PlanArrays) -> LatencyEstimates:
    uses = [within_measured(use) for use in predictor.uses_of(plans)]
    mean, low, high = predictor.price(uses, len(plans))
    return LatencyEstimates(mean_ms=mean, low_ms=low, high_ms=high)


def _summary(batches: LatencyEstimates, longest: Ints, table: LatencyTable) -> AdaptiveEstimate:
    p50, p95 = np.quantile(batches.mean_ms, [0.5, 0.95])
    mean = LatencyEstimate(
        mean_ms=float(batches.mean_ms.mean()),
        low_ms=float(batches.low_ms.mean()),
        high_ms=float(batches.high_ms.mean()),
    )
    return AdaptiveEstimate(
        mean=mean,
        p50_ms=float(p50),
        p95_ms=float(p95),
        num_batches=len(batches),
        num_beyond=int((longest > table.geometry.num_tokens).sum()),
    )
