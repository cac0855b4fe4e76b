"""Replays searches on a recorded study in simulated time.

Driver, proposer, samplers and pruners are those of a real search; only the workers are played, and the study is kept in
memory.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from search.budget import LatencyBudget
from search.config import ExperimentConfig
from search.driver import SearchDriver
from search.experiment import validate
from search.limits import Limits
from search.proposer import Proposer
from search.pruner import PeerPruner
from search.recorded import RecordedStudy, RecordedTrial
from search.recorded_sampler import RecordedParameters, RecordedSampler
from search.recorded_space import RecordedSpace
from search.records import Latency, TrialRecord, TrialState
from search.sampler import Knowledge, make_sampler
from search.search_config import PrunerName, SamplerName
from search.simulated_workers import SimulatedWorkers, Span
from search.study import StudyFacts, StudyStore
from spvit.errors import NothingFeasibleError
from trainers.metrics import EpochMetrics, Evaluation

STOPPING_RULES = ("max_wall_time_s", "max_gpu_hours", "target_top1", "patience_trials")
SOURCE = "the recorded study's experiment"


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedTrial:
    """One trial of a simulated search.

    Attributes:
        number: in the simulated search, in the order of proposals.
        recorded_number: of the recorded trial that it replays.
        state: how it ended.
        reason: why, where it was stopped.
        num_epochs: epochs that it was trained for.
        top1: percent, if it was trained to the end.
        latency_ms: as recorded.
        started_s: simulated seconds from the search's start.
        ended_s: the same.
        num_epochs_so_far: epochs that all trials together had finished when it ended.
    """

    number: int
    recorded_number: int
    state: TrialState
    reason: str
    num_epochs: int
    top1: float | None
    latency_ms: float
    started_s: float
    ended_s: float
    num_epochs_so_far: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedSearch:
    """One search: its trials in the order of their ends."""

    sampler: SamplerName
    pruner: PrunerName
    seed: int
    num_workers: int
    trials: tuple[SimulatedTrial, ...]

    @property
    def num_epochs(self) -> int:
        """Epochs that were trained."""
        return sum(trial.num_epochs for trial in self.trials)

    @property
    def seconds(self) -> float:
        """Simulated seconds from the start to the last trial's end."""
        return max((trial.ended_s for trial in self.trials), default=0.0)


class Replay:
    """A recorded study under a latency budget, ready for any number of searches.

    Baselines, warm starts and widening are left out: their networks were not recorded.

    Args:
        recorded: the study.
        budget: None admits whatever was recorded.

    Raises:
        ConfigError: the experiment or a trial in it is no valid one for this version.
        NothingFeasibleError: the budget admits nothing that was recorded.
    """

    def __init__(self, recorded: RecordedStudy, budget: LatencyBudget | None = None) -> None:
        self._experiment = _experiment_of(recorded)
        self._space = RecordedSpace(self._experiment, recorded)
        self._parameters = RecordedParameters.of_space(self._space)
        self._dense = Latency(mean_ms=recorded.dense_ms, low_ms=recorded.dense_ms, high_ms=recorded.dense_ms)
        slowest_ms = max(trial.latency.high_ms for trial in self._space.trials)
        self.budget = budget or LatencyBudget(max_ms=slowest_ms, source="the slowest configuration recorded")
        self.epochs = recorded.epochs
        self.feasible = tuple(trial for trial in self._space.trials if self.budget.admits(trial.latency))
        self._is_feasible = np.array([self.budget.admits(trial.latency) for trial in self._space.trials])
        if not self.feasible:
            raise NothingFeasibleError(
                f"no recorded configuration is within {self.budget.max_ms:.3f} ms ({self.budget.source}): the cheapest "
                f"one takes at most {min(t.latency.high_ms for t in self._space.trials):.3f} ms; raise the budget"
            )

    @property
    def num_recorded(self) -> int:
        """Different configurations that were recorded, within the budget or not."""
        return len(self._space.trials)

    def search(
        self,
        *,
        sampler: SamplerName,
        pruner: PrunerName,
        seed: int,
        num_trials: int | None = None,
        num_workers: int = 1,
        changes: Mapping[str, Any] | None = None,
    ) -> SimulatedSearch:
        """Searches once; the same arguments give the same search.

        Args:
            sampler: proposes.
            pruner: stops.
            seed: of the study.
            num_trials: to try; every configuration within the budget if None or more than there are.
            num_workers: trials that run at once.
            changes: other keys of `[search]`.
        """
        most = len(self.feasible)
        settings = {
            **(changes or {}),
            "sampler": sampler,
            "pruner": pruner,
            "num_trials": most if num_trials is None else min(num_trials, most),
            "num_concurrent": num_workers,
        }
        driver, store = self._driver(self._with_search(settings, seed))
        driver.start()
        spans = SimulatedWorkers(report=self._report, epoch_s=self._epoch_s).run(driver)
        driver.finish()
        if driver.error is not None:
            raise driver.error
        return SimulatedSearch(
            sampler=sampler,
            pruner=pruner,
            seed=seed,
            num_workers=num_workers,
            trials=tuple(self._trial(store.trial(span.number), span) for span in spans),
        )

    def _with_search(self, settings: Mapping[str, Any], seed: int) -> ExperimentConfig:
        values = self._experiment.model_dump(mode="json")
        values["search"] |= settings
        values["study"]["seed"] = seed
        return validate(values, source=SOURCE)

    def _driver(self, experiment: ExperimentConfig) -> tuple[SearchDriver, StudyStore]:
        facts = StudyFacts(dense_latency=self._dense, max_latency_ms=self.budget.max_ms, table_sha256="")
        store = StudyStore.in_memory(experiment, facts, self._space)
        proposer = _WithoutBaseline(
            self._space,
            price=self._space.price,
            budget=self.budget,
            config=experiment.search,
            seed=experiment.study.seed,
            sampler_factory=self._make_sampler,
        )
        driver = SearchDriver(
            store=store,
            proposer=proposer,
            pruner=PeerPruner(experiment.search, experiment.training, experiment.study.name),
            limits=Limits.from_config(experiment),
        )
        return driver, store

    def _make_sampler(
        self, name: SamplerName, *, seed: int, num_startup_trials: int, knowledge: Knowledge
    ) -> RecordedSampler:
        """The production's sampler, held to what was recorded."""
        inner = make_sampler(
            name,
            seed=seed,
            num_startup_trials=num_startup_trials,
            knowledge=replace(knowledge, space=self._parameters),
        )
        return RecordedSampler(inner, self._parameters, is_feasible=self._is_feasible, seed=seed)

    def _recorded(self, trial: TrialRecord) -> RecordedTrial:
        return self._space.recorded(trial.params)

    def _report(self, trial: TrialRecord, epoch: int) -> dict[str, Any]:
        top1 = self._recorded(trial).curve[epoch - 1]
        unknown = Evaluation(top1=top1, top5=math.nan, loss=math.nan, num_images=0)
        return EpochMetrics(epoch=epoch, evaluation=unknown).to_dict()

    def _epoch_s(self, trial: TrialRecord, epoch: int) -> float:
        return self._recorded(trial).epoch_s[epoch - 1]

    def _trial(self, record: TrialRecord, span: Span) -> SimulatedTrial:
        return SimulatedTrial(
            number=record.number,
            recorded_number=self._recorded(record).number,
            state=record.state,
            reason=record.reason,
            num_epochs=record.num_epochs,
            top1=record.top1,
            latency_ms=record.latency.mean_ms,
            started_s=span.started_s,
            ended_s=span.ended_s,
            num_epochs_so_far=span.num_epochs_so_far,
        )


class _WithoutBaseline(Proposer):
    """The fixed schedule of the experiment file was no trial of the sampler's, and is not recorded."""

    def baseline(self) -> None:
        """None, whatever the file names."""


def simulate(
    recorded: RecordedStudy,
    *,
    sampler: SamplerName,
    pruner: PrunerName,
    seed: int,
    num_trials: int | None = None,
    num_workers: int = 1,
    budget: LatencyBudget | None = None,
    changes: Mapping[str, Any] | None = None,
) -> SimulatedSearch:
    """One search on a recorded study; for several, make one `Replay`. Arguments and errors are those of `Replay`."""
    return Replay(recorded, budget).search(
        sampler=sampler, pruner=pruner, seed=seed, num_trials=num_trials, num_workers=num_workers, changes=changes
    )


def _experiment_of(recorded: RecordedStudy) -> ExperimentConfig:
    """The recorded experiment without what only networks that were not recorded could serve.

    Nor does it end early: its rules are about another search, and two of them about time on another clock.
    """
    values = tomllib.loads(recorded.experiment)
    values.setdefault("search", {}).update(warm_starts=False, widen=False, enqueue=[])
    for rule in STOPPING_RULES:
        values["search"].pop(rule, None)
    return validate(values, source=SOURCE)
