"""The driver of a search with elastic weights: elastic trials, then schedules trained further from the best one's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

from search.contenders import ContenderProposer
from search.driver import Decision, SearchDriver
from search.elastic_front import best_elastic
from search.elastic_phase import ElasticPhase
from search.elastic_search_config import ElasticSearchConfig, SearchMode
from search.limits import Limits
from search.proposal import Proposal
from search.proposer import Proposer
from search.pruner import PeerPruner
from search.rank_agreement import RankAgreement
from search.records import EndCause, Origin, SearchEnd, TrialRecord
from trainers.metrics import EpochMetrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScheduleParts:
    """What trains schedules after the elastic trials."""

    proposer: Proposer
    pruner: PeerPruner


class ModeDriver(SearchDriver):
    """As `SearchDriver`, with elastic trials before the sampler is asked.

    Args:
        mode: `SearchMode.ELASTIC` or `SearchMode.AUTO`; the first ends with the elastic trials.
        phase: the elastic trials.
        make_parts: what trains schedules once an elastic trial is the best; with None, where none was trained to its
            end, as a search without elastic trials does.
        options: of `SearchDriver`; its proposer makes the baseline and repeats trials until then.
    """

    def __init__(
        self,
        *,
        mode: SearchMode,
        phase: ElasticPhase,
        make_parts: Callable[[TrialRecord | None], ScheduleParts],
        limits: Limits,
        **options: Any,
    ) -> None:
        num_trials = 0 if mode is SearchMode.ELASTIC else limits.num_trials
        super().__init__(limits=replace(limits, num_trials=num_trials), **options)
        self._mode, self._phase, self._make_parts = mode, phase, make_parts
        self._has_parts = False
        self._is_doubted = False

    @override
    def start(self) -> None:
        """As `SearchDriver.start`; goes on with schedules where the elastic trials have ended before."""
        super().start()
        if self._phase.is_over(self._store.trials):
            self._begin_schedules()

    @property
    @override
    def is_finished(self) -> bool:
        """Whether the elastic trials have ended, and everything that comes after them."""
        is_due = self._ending.end is None and not self._phase.is_over(self._store.trials)
        return not is_due and super().is_finished

    @override
    def _next_proposal(self) -> Proposal | None:
        trials = self._store.trials
        is_elastic_over = self._phase.is_over(trials)
        if not is_elastic_over:
            return self._during_elastic(trials)
        if not self._has_parts:
            self._begin_schedules()
        self._weigh_estimates()
        return super()._next_proposal()

    @override
    def _on_epoch(self, number: int, metrics: EpochMetrics, further: Mapping[str, Any]) -> Decision:
        trial = self._store.trial(number)
        if trial.origin is not Origin.ELASTIC:
            return super()._on_epoch(number, metrics, further)
        front = self._phase.front(trial, metrics.priced)
        if metrics.epoch > trial.num_epochs or not trial.priced:  # an attempt may have died before it could note them
            self._store.note_priced(number, front.priced)
        evaluation = replace(metrics.evaluation, top1=front.mean_top1, num_images=0)  # not those of a trial's top-1
        return super()._on_epoch(number, replace(metrics, evaluation=evaluation), {**further, **front.metrics()})

    @override
    def _otherwise(self) -> SearchEnd:
        end = super()._otherwise()
        if self._mode is SearchMode.ELASTIC and end.cause is EndCause.TRIALS:
            return SearchEnd(cause=EndCause.TRIALS, reason="every elastic trial has ended")
        return end

    def _during_elastic(self, trials: tuple[TrialRecord, ...]) -> Proposal | None:
        """What may run before the first schedule is chosen."""
        if self._agenda.rested():
            return super()._next_proposal()
        if (elastic := self._phase.next(trials)) is not None:
            return elastic
        return self._agenda.baseline()

    def _begin_schedules(self) -> None:
        self._has_parts = True
        if self._mode is SearchMode.ELASTIC:
            return
        best = best_elastic(self._store.trials)
        if best is None:
            logger.warning("no elastic trial was trained to its end, so each schedule is trained from the backbone")
        parts = self._make_parts(best)
        self._agenda.proposer, self._pruner = parts.proposer, parts.pruner
        self._agenda.proposer.restore(self._store.trials, self._store.record().rejections)
        self._pruner.restore(self._store.trials)

    def _weigh_estimates(self) -> None:
        """Leaves estimates out where results contradict them."""
        proposer = self._agenda.proposer
        if not isinstance(proposer, ContenderProposer):
            return
        agreement, limits = RankAgreement.of(self._store.trials), self._settings
        is_trusted = agreement.is_trusted(min_tau=limits.min_rank_correlation, min_compared=limits.min_compared)
        proposer.is_trusted = is_trusted
        if not is_trusted and not self._is_doubted:
            logger.warning(
                "elastic estimates rank the %d schedules trained so far with a Kendall correlation of %.2f only, below "
                "search.elastic.min_rank_correlation = %.2f; the search goes by what trainings reach",
                agreement.num_compared,
                agreement.tau,
                limits.min_rank_correlation,
            )
        self._is_doubted = not is_trusted

    @property
    def _settings(self) -> ElasticSearchConfig:
        return self._phase.experiment.search.elastic
