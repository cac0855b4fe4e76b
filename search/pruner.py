"""Stops trials that are losing against trials as fast or faster. A slow, accurate trial never stops a fast one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.peer_rules import PeerRule
from search.peer_view import LATENCY_MS, as_peer, peer_study
from search.records import Origin, TrialRecord, TrialState
from search.search_config import PrunerName, SearchConfig
from trainers.config import TrainingConfig

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a trial goes on; if not, a sentence for its owner."""

    goes_on: bool
    reason: str = ""


GOES_ON = Verdict(goes_on=True)
UNPRUNED = frozenset({Origin.BASELINE, Origin.CONTINUED, Origin.FINISHED})
"""Trials that somebody chose."""


class PeerPruner:
    """The pruner of an experiment, asked about trials as the driver knows them.

    Keeps one small object per trial, so that a decision among a thousand trials takes a few milliseconds.
    """

    def __init__(self, config: SearchConfig, training: TrainingConfig, study_name: str) -> None:
        self._epochs = training.epochs
        self._config = config
        self._grace = config.grace(training.freeze_epochs)
        self._graces: dict[int, int] = {}
        self._rule = _make_rule(config, self._grace, self._epochs, study_name)
        self._peers: dict[int, FrozenTrial] = {}

    def restore(self, records: Iterable[TrialRecord]) -> None:
        """Takes over the trials of a study that goes on; rungs are found again by going through their curves."""
        for record in records:
            self.update(record)
        for number, peer in self._peers.items():
            curve = peer.intermediate_values
            for epoch in range(self._graces[number] + 1, len(curve) + 1):
                peer.intermediate_values = {step: curve[step] for step in range(1, epoch + 1)}
                self._rule.reason_to_stop(peer, self._peers.values())
            peer.intermediate_values = curve

    def update(self, record: TrialRecord) -> None:
        """Notes how a trial stands.

        A failed trial is nobody's peer, as its retry stands for it; nor is one that was trained to full length.
        """
        if record.state is TrialState.FAIL or record.origin is Origin.FINISHED:
            self._peers.pop(record.number, None)
            return
        self._graces[record.number] = self._grace_of(record)
        peer = as_peer(record)
        if before := self._peers.get(record.number):
            peer.system_attrs = before.system_attrs
        self._peers[record.number] = peer

    def judge(self, record: TrialRecord) -> Verdict:
        """Whether a trial goes on after the epoch that it just finished. One that ended has nothing to stop."""
        if record.number not in self._peers:
            self.update(record)
        epoch = record.num_epochs
        if record.state.is_finished or record.origin in UNPRUNED:
            return GOES_ON
        if epoch <= self._graces[record.number] or epoch >= self._epochs:
            return GOES_ON
        reason = self._rule.reason_to_stop(self._peers[record.number], self._peers.values())
        return Verdict(goes_on=False, reason=reason) if reason else GOES_ON

    def _grace_of(self, record: TrialRecord) -> int:
        """What is given, or no fewer than its own frozen epochs and one: a search may explore how many are frozen."""
        frozen = record.config.get("training", {}).get("freeze_epochs", 0)
        return max(self._grace, self._config.grace(frozen))


class ParetoRule:
    """`ParetoPruner` on the trials of a study."""

    def __init__(self, *, grace: int, confidence: float, study_name: str) -> None:
        from search.pareto_pruner import ParetoPruner

        self._pruner = ParetoPruner(LATENCY_MS, confidence=confidence, n_warmup_steps=grace)
        self._study_name = study_name

    def reason_to_stop(self, trial: FrozenTrial, peers: Iterable[FrozenTrial]) -> str:
        """One sentence, or nothing where the trial may go on; of all peers, as slow ones tell of curves too."""
        hopeless = self._pruner.judge(peer_study(self._study_name, peers), trial)
        return "" if hopeless is None else hopeless.to_text(step="epoch", unit=" %")


def _make_rule(config: SearchConfig, grace: int, epochs: int, study_name: str) -> ParetoRule | PeerRule:
    if config.pruner is PrunerName.PARETO:
        return ParetoRule(grace=grace, confidence=config.pruner_confidence, study_name=study_name)
    tolerance = config.latency_tolerance
    return PeerRule(config.pruner, grace=grace, epochs=epochs, tolerance=tolerance, study_name=study_name)
