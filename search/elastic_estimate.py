"""What elastic weights say of any schedule, from those that were evaluated with them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from search.gp import GaussianProcess, Inputs, fit
from search.records import TrialRecord
from spvit.schedule import PruningSchedule, TokenGeometry, TokenPlan
from trainers.config import PruningConfig
from trainers.metrics import PricedSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ElasticEstimate:
    """Top-1 of schedules, interpolated by a Gaussian process on the tokens of each block.

    Attributes:
        process: of standardised accuracies.
        mean: of the accuracies, in percent.
        spread: their standard deviation, in points.
        num_dense: tokens of each block of the unpruned model.
        known: plans that were asked for, with the answer.
    """

    process: GaussianProcess
    mean: float
    spread: float
    num_dense: Array
    known: dict[TokenPlan, float] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, priced: Sequence[PricedSchedule], plan: Callable[[PruningSchedule], TokenPlan]
    ) -> ElasticEstimate | None:
        """The estimate from schedules that were evaluated; None where fewer than three were.

        Args:
            priced: with their top-1 in percent.
            plan: a schedule's network.
        """
        found = [(plan(each.schedule), each.top1) for each in priced if each.top1 is not None]
        if len(found) < 3:
            return None
        num_dense = np.array(plan(PruningSchedule()).block_tokens, dtype=float)
        top1 = np.array([value for _, value in found], dtype=float)
        spread = float(top1.std()) or 1.0
        inputs = _inputs([network for network, _ in found], num_dense)
        process = fit(inputs, (top1 - top1.mean()) / spread)
        return cls(process=process, mean=float(top1.mean()), spread=spread, num_dense=num_dense)

    @classmethod
    def of_trial(cls, trial: TrialRecord, geometry: TokenGeometry) -> ElasticEstimate | None:
        """What an elastic trial says of any schedule of the backbone; None where it evaluated too few."""
        pruning = PruningConfig.model_validate(trial.config["pruning"])
        return cls.of(trial.priced, lambda schedule: schedule.plan(geometry, pruning.package, pruning.selector))

    def __call__(self, plan: TokenPlan) -> float:
        """Estimated top-1 of a network, in percent."""
        if plan not in self.known:
            shares = np.array(plan.block_tokens, dtype=float) / self.num_dense
            own = self.process.mean_of(shares, np.array([1.0, shares.mean()]))
            self.known[plan] = self.mean + self.spread * own
        return self.known[plan]


def _inputs(plans: Sequence[TokenPlan], num_dense: Array) -> Inputs:
    """Each block's tokens as a share of the unpruned model's; a constant and their mean enter the process's mean."""
    shares = np.array([plan.block_tokens for plan in plans], dtype=float) / num_dense
    return Inputs(
        columns=shares,
        is_category=np.zeros(shares.shape[1], dtype=bool),
        basis=np.column_stack([np.ones(len(plans)), shares.mean(axis=1)]),
    )
