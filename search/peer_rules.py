"""Optuna's pruners by name, asked about the trials that are as fast or faster, and in words what they compared."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from search.peer_view import LATENCY_MS, peer_study
from search.records import TrialState
from search.search_config import PrunerName

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

MIN_PEERS = 3
"""Trials as fast or faster that a trial is compared with, at least; one rival alone is too often lucky."""
FIRST_RUNG_SHARE = 1 / 3
"""Of the epochs. On eleven published fine-tunings the order after one epoch agreed poorly with the last (tau 0.6)."""
REDUCTION_FACTOR = 2
WILCOXON_P = 0.1
"""Optuna's own. The test sees the epochs of one training, which are no independent draws: a heuristic."""
PATIENCE_EPOCHS = 1
"""Epochs without a new best after which the median is asked."""
FINISHED_ALONE = frozenset({PrunerName.MEDIAN, PrunerName.PATIENT, PrunerName.WILCOXON})
"""Rules that look at trials which were trained to the end."""


class PeerRule:
    """One of Optuna's pruners, shown only the trials with at most `tolerance` more latency than the trial's own."""

    def __init__(self, name: PrunerName, *, grace: int, epochs: int, tolerance: float, study_name: str) -> None:
        self._name = name
        self._tolerance = tolerance
        self._study_name = study_name
        self._pruner = _make_pruner(name, grace, epochs)

    def reason_to_stop(self, trial: FrozenTrial, peers: Iterable[FrozenTrial]) -> str:
        """One sentence, or nothing where the trial may go on.

        Args:
            trial: as it stands, one of `peers`.
            peers: every trial that did not fail.
        """
        as_fast = [peer for peer in peers if peer.user_attrs[LATENCY_MS] <= self._limit_ms(trial)]
        if not self._pruner.prune(peer_study(self._study_name, as_fast), trial):
            return ""
        rivals = self._rivals(trial, as_fast)
        return self._explain(trial, rivals) if len(rivals) >= MIN_PEERS else ""

    def _limit_ms(self, trial: FrozenTrial) -> float:
        return float(trial.user_attrs[LATENCY_MS]) * (1 + self._tolerance)

    def _rivals(self, trial: FrozenTrial, as_fast: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The others that have finished the same epoch, as far as the rule looks at them."""
        epoch = trial.last_step
        return [
            peer
            for peer in as_fast
            if peer.number != trial.number
            and epoch in peer.intermediate_values
            and (self._name not in FINISHED_ALONE or peer.state.name == TrialState.COMPLETE)
        ]

    def _explain(self, trial: FrozenTrial, rivals: Sequence[FrozenTrial]) -> str:
        epoch = trial.last_step
        values = [peer.intermediate_values[epoch] for peer in rivals]
        whom = f"{len(rivals)} trials that are as fast or faster (<= {self._limit_ms(trial):.2f} ms)"
        last, best = trial.intermediate_values[epoch], max(trial.intermediate_values.values())
        match self._name:
            case PrunerName.MEDIAN:
                what = f"{best:.2f} % is below the median {statistics.median(values):.2f} % of {whom}"
            case PrunerName.PATIENT:
                what = (
                    f"no new best for {PATIENCE_EPOCHS + 1} epochs, and {best:.2f} % is below the median "
                    f"{statistics.median(values):.2f} % of {whom}"
                )
            case PrunerName.WILCOXON:
                leader = max(rivals, key=lambda peer: (peer.value, -peer.number))
                what = (
                    f"{last:.2f} %; over its epochs it is behind trial {leader.number}, {leader.value:.2f} % at the "
                    f"end, the best of {whom} (Wilcoxon's test, p < {WILCOXON_P:g})"
                )
            case _:
                what = f"{last:.2f} % is not in the best 1/{REDUCTION_FACTOR} of {whom}: best {max(values):.2f} %"
        return f"after epoch {epoch}: {what}"


def _make_pruner(name: PrunerName, grace: int, epochs: int) -> BasePruner:
    from optuna import pruners

    first_rung = max(grace + 1, math.ceil(epochs * FIRST_RUNG_SHARE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks some pruners as experimental; its version is pinned
        median = pruners.MedianPruner(n_startup_trials=MIN_PEERS, n_warmup_steps=grace + 1)
        match name:
            case PrunerName.MEDIAN:
                return median
            case PrunerName.PATIENT:
                return pruners.PatientPruner(median, patience=PATIENCE_EPOCHS)
            case PrunerName.WILCOXON:
                return pruners.WilcoxonPruner(p_threshold=WILCOXON_P, n_startup_steps=grace + 1)
            case PrunerName.SUCCESSIVE_HALVING:
                return pruners.SuccessiveHalvingPruner(min_resource=first_rung, reduction_factor=REDUCTION_FACTOR)
            case PrunerName.HYPERBAND:
                return pruners.HyperbandPruner(
                    min_resource=first_rung, max_resource=max(epochs, first_rung), reduction_factor=REDUCTION_FACTOR
                )
            case _:
                return pruners.NopPruner()
