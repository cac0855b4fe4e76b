"""Puts together what a search with elastic weights has beside what every search has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from search.budget import LatencyBudget
from search.config import ExperimentConfig
from search.contenders import ContenderProposer
from search.driver import SearchDriver
from search.elastic_phase import ElasticPhase
from search.elastic_start import elastic_start
from search.elastic_trial import schedule_space
from search.latency_target import target_from
from search.mode_driver import ModeDriver, ScheduleParts
from search.mode_pruner import ModePruner
from search.proposer import Proposer
from search.pruner import PeerPruner
from search.records import TrialRecord
from search.shortened_training import shortened
from search.space import SearchSpace
from search.staircase import Staircase
from search.starts import starts_within
from spvit.schedule import PruningSchedule
from trainers.config import LatencyTarget

if TYPE_CHECKING:
    from search.launcher import Device

DriverType = Callable[..., SearchDriver]


@dataclass(frozen=True, kw_only=True)
class ModeParts:
    """What a driver of a search with elastic weights is made of.

    Attributes:
        experiment: the search; it has elastic trials.
        device: latencies, and the backbone's tokens.
        space: all that it explores.
        budget: what is admitted.
        directory: the study's folder.
    """

    experiment: ExperimentConfig
    device: Device
    space: SearchSpace
    budget: LatencyBudget
    directory: Path

    def driver_type(self) -> DriverType:
        """What makes the driver, from what every driver is made of."""
        phase = self.phase()
        return partial(
            ModeDriver,
            mode=self.experiment.search.mode,
            phase=phase,
            make_parts=partial(self._schedule_parts, phase),
        )

    def pruner(self) -> PeerPruner:
        """Of elastic trials, and of schedules that are trained from the backbone."""
        experiment = self.experiment
        usual = PeerPruner(experiment.search, experiment.training, experiment.study.name)
        return self._pruner(usual, is_alike=lambda trial: trial.config.get("start") is None)

    def phase(self) -> ElasticPhase:
        """The elastic trials."""
        device = self.device
        is_plain = len(device.geometry.levels) == 1
        curves = LatencyTarget.from_table(device.table, self.budget.max_ms) if device.table and is_plain else None
        return ElasticPhase(
            experiment=self.experiment,
            space=self.space,
            price=device.price,
            budget=self.budget,
            dense_ms=device.price(PruningSchedule().plan(device.geometry)).mean_ms,
            curves=curves,
        )

    def _schedule_parts(self, phase: ElasticPhase, best: TrialRecord | None) -> ScheduleParts:
        estimate = None if best is None else phase.estimate(best)
        if best is None or estimate is None:
            return ScheduleParts(proposer=self._proposer(Proposer, self.space), pruner=self.pruner())
        experiment, device = self.experiment, self.device
        target = None if device.table is None else target_from(experiment, device.table)
        space = schedule_space(experiment, device.geometry, target, elastic_start(experiment, best, self.directory))
        make = partial(ContenderProposer, estimate=estimate, num_bands=experiment.search.elastic.num_bands)
        schedules = PeerPruner(experiment.search, space.default.training, experiment.study.name)
        pruner = self._pruner(schedules, is_alike=partial(_is_trained_further, epochs=space.default.training.epochs))
        return ScheduleParts(proposer=self._proposer(make, space), pruner=pruner)

    def _proposer(self, make: Callable[..., Proposer], space: SearchSpace) -> Proposer:
        table, config = self.device.table, self.experiment.search
        num_startup = config.num_startup_trials
        if make is not Proposer:  # which begins with the best of each band, and knows where to go on
            num_startup = min(num_startup, config.elastic.num_bands)
        return make(
            space,
            price=self.device.price,
            budget=self.budget,
            config=config.model_copy(
                update={"num_startup_trials": num_startup, "enqueue": starts_within(config.enqueue, space)}
            ),
            seed=self.experiment.study.seed,
            staircase=None if table is None else Staircase.from_table(table),
            num_workers=self.experiment.trial.workers,
        )

    def _pruner(self, schedules: PeerPruner, *, is_alike: Callable[[TrialRecord], bool]) -> ModePruner:
        experiment = self.experiment
        epochs = experiment.search.elastic.elastic_epochs(experiment.training.epochs)
        elastic = PeerPruner(experiment.search, shortened(experiment.training, epochs), experiment.study.name)
        return ModePruner(elastic=elastic, schedules=schedules, is_alike=is_alike)


def _is_trained_further(trial: TrialRecord, *, epochs: int) -> bool:
    return trial.config.get("start") is not None and trial.config["training"]["epochs"] == epochs
