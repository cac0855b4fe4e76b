"""Schedules that elastic weights priced and nobody trained, as candidates to be finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from latency_tables.table import LatencyTable
from search.budget import Price, price_from
from search.config import ExperimentConfig
from search.elastic_estimate import ElasticEstimate
from search.elastic_front import best_elastic
from search.elastic_start import elastic_start
from search.elastic_trial import contender_training, schedule_space
from search.latency_target import target_from
from search.proposal import Proposal
from search.rank_agreement import RankAgreement
from search.records import Origin, StudyRecord, TrialRecord, TrialState
from search.table_files import table_file
from search.trial_identity import network_identity
from spvit.schedule import PruningSchedule, TokenGeometry, TokenPlan
from trainers.config import LatencyTarget, TrialConfig
from trainers.metrics import PricedSchedule

Plan = Callable[[PruningSchedule], TokenPlan]


def with_priced(
    study: StudyRecord, experiment: ExperimentConfig, *, epochs: int, max_latency_ms: float | None = None
) -> StudyRecord:
    """As `PricedStudy.with_candidates`, by the study's own latency table; the study itself without elastic weights.

    Args:
        study: its trials.
        experiment: it was made from, its folder being where the study is now.
        epochs: that candidates would be trained for.
        max_latency_ms: the study's budget where absent.

    Raises:
        LatencyTableError: the table is missing or damaged.
        CheckpointError, StorageError: as there.
    """
    if best_elastic(study.trials) is None:
        return study
    directory = experiment.study.directory / experiment.study.name
    table = LatencyTable.load(table_file(experiment.latency.table, directory))
    priced = PricedStudy(
        study=study,
        experiment=experiment,
        directory=directory,
        geometry=table.geometry,
        price=price_from(table),
        latency=target_from(experiment, table),
    )
    return priced.with_candidates(epochs=epochs, max_latency_ms=max_latency_ms)


@dataclass(frozen=True, kw_only=True)
class PricedStudy:
    """A study whose elastic weights are to be gone on from.

    Attributes:
        study: its trials.
        experiment: it was made from.
        directory: the study's folder.
        geometry: of the backbone.
        price: of networks on the device.
        latency: what a latency term of the losses aims at.
    """

    study: StudyRecord
    experiment: ExperimentConfig
    directory: Path
    geometry: TokenGeometry
    price: Price
    latency: LatencyTarget | None = None

    def with_candidates(self, *, epochs: int, max_latency_ms: float | None = None) -> StudyRecord:
        """The study with the schedules that its best elastic trial priced alone, as the trials that they would be.

        Such a record has its expected top-1 and no epochs, and is numbered behind the study's own trials. Where no
        schedule was trained from elastic weights, none that was trained otherwise competes with what is priced: the
        fixed schedule had a whole training, an estimate had none.

        Args:
            epochs: that they would be trained for.
            max_latency_ms: the upper end of their predicted latency is within it; the study's budget where absent.

        Raises:
            CheckpointError: the elastic weights are gone.
            StorageError: they were published, and cannot be fetched.
        """
        best = best_elastic(self.study.trials)
        if best is None or not self._is_trusted:
            return self.study
        limit_ms = self.study.max_latency_ms if max_latency_ms is None else max_latency_ms
        found = tuple(each for each in self._candidates(best, epochs) if each.latency.high_ms <= limit_ms)
        own = self.study.trials
        if found and not _trained_further(own):
            own = tuple(trial for trial in own if not trial.is_model or trial.origin is Origin.FINISHED)
        return replace(self.study, trials=(*own, *found))

    @property
    def _is_trusted(self) -> bool:
        limits = self.experiment.search.elastic
        agreement = RankAgreement.of(self.study.trials)
        return agreement.is_trusted(min_tau=limits.min_rank_correlation, min_compared=limits.min_compared)

    def _candidates(self, best: TrialRecord, epochs: int) -> Iterator[TrialRecord]:
        elastic = elastic_start(self.experiment, best, self.directory)
        settings = self._settings(elastic, epochs)

        def plan(schedule: PruningSchedule) -> TokenPlan:
            return schedule.plan(self.geometry, elastic.pruning.package, elastic.pruning.selector)

        estimate, lift = ElasticEstimate.of_trial(best, self.geometry), lift_points(self.study.trials)
        number = max(trial.number for trial in self.study.trials) + 1
        for priced, network in _untrained(best, self.study.trials, plan):
            guess = (priced.top1 or 0.0) if estimate is None else estimate(network)
            pruning = settings.pruning.model_copy(update={"schedule": priced.schedule})
            yield TrialRecord(
                number=number,
                state=TrialState.COMPLETE,
                params={},
                config=settings.model_copy(update={"pruning": pruning}).to_dict(),
                latency=self.price(network),
                keep_counts=tuple(selection.num_kept for selection in network.selections),
                blocks=tuple(selection.block for selection in network.selections),
                origin=Origin.CONTENDER,
                label=f"priced by trial {best.number}",
                top1=guess + lift,
                estimated_top1=guess,
            )
            number += 1

    def _settings(self, elastic: TrialConfig, epochs: int) -> TrialConfig:
        """The trial that goes on from the elastic one's weights, without its schedule."""
        default = schedule_space(self.experiment, self.geometry, self.latency, elastic).default
        return default.model_copy(update={"training": contender_training(self.experiment, elastic, epochs)})


def lift_points(trials: Iterable[TrialRecord]) -> float:
    """By how many points trainings from elastic weights came out above their estimates, on average; 0 without any."""
    further = _trained_further(trials)
    return fmean((t.top1 or 0.0) - (t.estimated_top1 or 0.0) for t in further) if further else 0.0


def is_candidate(trial: TrialRecord) -> bool:
    """Whether a record is a schedule that was priced alone: no trial ends without an epoch."""
    return trial.state is TrialState.COMPLETE and not trial.curve


def specialisation(candidate: TrialRecord, plan: TokenPlan) -> Proposal:
    """The trial that trains a candidate from the elastic weights."""
    return Proposal(
        config=TrialConfig.model_validate(candidate.config),
        plan=plan,
        latency=candidate.latency,
        params={},
        origin=Origin.FINISHED,
        label=candidate.label,
        estimated_top1=candidate.estimated_top1,
    )


def specialisations(trials: Iterable[TrialRecord], candidate: TrialRecord) -> list[TrialRecord]:
    """Every attempt to train a candidate for as many epochs, from the same weights."""
    known = [trial for trial in trials if trial.origin is Origin.FINISHED and trial.continues is None]
    return [trial for trial in known if _what_is_trained(trial) == _what_is_trained(candidate)]


def _what_is_trained(trial: TrialRecord) -> tuple[object, ...]:
    """Leaves out what another attempt may have otherwise: where files lie, and how many images are in memory."""
    config = trial.config
    return config["pruning"], config["losses"], config["training"]["epochs"], config["start"]["sha256"]


def _trained_further(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    return [t for t in trials if t.is_model and t.origin is not Origin.FINISHED and t.estimated_top1 is not None]


def _untrained(
    best: TrialRecord, trials: Sequence[TrialRecord], plan: Plan
) -> Iterator[tuple[PricedSchedule, TokenPlan]]:
    """Each network that was priced once, without those that were trained further in the search itself."""
    further = (TrialConfig.model_validate(trial.config).pruning.schedule for trial in _trained_further(trials))
    seen: set[object] = {network_identity(plan(schedule)) for schedule in further}
    for priced in best.priced:
        network = plan(priced.schedule)
        if network_identity(network) not in seen:
            seen.add(network_identity(network))
            yield priced, network
