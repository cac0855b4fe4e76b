"""Stops trials that are losing against trials as fast or faster. A slow, accurate trial never stops a fast one."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.peer_view import as_peer, peer_study
from search.records import Origin, TrialRecord, TrialState
from search.search_config import PrunerName, SearchConfig
from trainers.config import TrainingConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial

MIN_PEERS = 3
"""Trials as fast or faster that a trial is compared with, at least; one rival alone is too often lucky."""
FIRST_RUNG_SHARE = 1 / 3
"""Of the epochs. On eleven published fine-tunings the order after one epoch agreed poorly with the last (tau 0.6)."""
REDUCTION_FACTOR = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a trial goes on; if not, a sentence for its owner."""

    goes_on: bool
    reason: str = ""


GOES_ON = Verdict(goes_on=True)


class PeerPruner:
    """Optuna's own pruner, asked about the trials with at most `latency_tolerance` more latency than the trial.

    Keeps one small object per trial, so that a decision among a thousand trials takes a millisecond or so.
    """

    def __init__(self, config: SearchConfig, training: TrainingConfig, study_name: str) -> None:
        self._rule = config.pruner
        self._tolerance = config.latency_tolerance
        self._epochs = training.epochs
        self._grace = config.grace_epochs if config.grace_epochs is not None else training.freeze_epochs + 1
        self._pruner = _make_pruner(config.pruner, self._grace, self._epochs)
        self._study_name = study_name
        self._peers: dict[int, FrozenTrial] = {}
        self._latency_ms: dict[int, float] = {}

    def restore(self, records: Iterable[TrialRecord]) -> None:
        """Takes over the trials of a study that goes on; rungs are found again by going through their curves."""
        for record in records:
            self.update(record)
        for number, peer in self._peers.items():
            curve = peer.intermediate_values
            for epoch in range(1, len(curve) + 1):
                peer.intermediate_values = {step: curve[step] for step in range(1, epoch + 1)}
                if epoch > self._grace:
                    self._pruner.prune(self._view(number), peer)
            peer.intermediate_values = curve

    def update(self, record: TrialRecord) -> None:
        """Notes how a trial stands. A failed trial is nobody's peer; its retry stands for it."""
        if record.state is TrialState.FAIL:
            self._peers.pop(record.number, None)
            return
        peer = as_peer(record)
        if before := self._peers.get(record.number):
            peer.system_attrs = before.system_attrs
        self._peers[record.number] = peer
        self._latency_ms[record.number] = record.latency.mean_ms

    def judge(self, record: TrialRecord) -> Verdict:
        """Whether a trial goes on after the epoch that it just finished. `update` was called with it before."""
        epoch = record.num_epochs
        if record.origin is Origin.BASELINE or epoch <= self._grace or epoch >= self._epochs:
            return GOES_ON
        if not self._pruner.prune(self._view(record.number), self._peers[record.number]):
            return GOES_ON
        values = self._rivals(record.number, epoch)
        if len(values) < MIN_PEERS:
            return GOES_ON
        return Verdict(goes_on=False, reason=self._explain(record, values))

    def _view(self, number: int) -> Study:
        return peer_study(self._study_name, self._as_fast(number))

    def _as_fast(self, number: int) -> list[FrozenTrial]:
        limit = self._limit_ms(number)
        return [peer for other, peer in self._peers.items() if self._latency_ms[other] <= limit]

    def _limit_ms(self, number: int) -> float:
        return self._latency_ms[number] * (1 + self._tolerance)

    def _rivals(self, number: int, epoch: int) -> list[float]:
        """Top-1 of the others after the same epoch, as far as the rule looks at them."""
        peers = [peer for peer in self._as_fast(number) if peer.number != number]
        if self._rule is PrunerName.MEDIAN:
            peers = [peer for peer in peers if peer.state.name == TrialState.COMPLETE]
        return [peer.intermediate_values[epoch] for peer in peers if epoch in peer.intermediate_values]

    def _explain(self, record: TrialRecord, values: list[float]) -> str:
        limit_ms = self._limit_ms(record.number)
        whom = f"{len(values)} trials that are as fast or faster (<= {limit_ms:.2f} ms)"
        if self._rule is PrunerName.MEDIAN:
            rule = f"{max(record.curve):.2f} % is below the median {statistics.median(values):.2f} % of {whom}"
        else:
            rule = (
                f"{record.curve[-1]:.2f} % is not in the best 1/{REDUCTION_FACTOR} of {whom}: best {max(values):.2f} %"
            )
        return f"after epoch {record.num_epochs}: {rule}"


def _make_pruner(name: PrunerName, grace: int, epochs: int) -> BasePruner:
    from optuna import pruners

    first_rung = max(grace + 1, math.ceil(epochs * FIRST_RUNG_SHARE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks some pruners as experimental; its version is pinned
        match name:
            case PrunerName.MEDIAN:
                return pruners.MedianPruner(n_startup_trials=MIN_PEERS, n_warmup_steps=grace + 1)
            case PrunerName.SUCCESSIVE_HALVING:
                return pruners.SuccessiveHalvingPruner(min_resource=first_rung, reduction_factor=REDUCTION_FACTOR)
            case PrunerName.HYPERBAND:
                return pruners.HyperbandPruner(
                    min_resource=first_rung, max_resource=max(epochs, first_rung), reduction_factor=REDUCTION_FACTOR
                )
            case PrunerName.NONE:
                return pruners.NopPruner()
