"""Works out what a search would reach and cost: prices the space, times a trial, looks at the machines."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.table import LatencyTable
from search.budget import LatencyBudget, Price, price_from
from search.cluster_fit import ClusterFit, Node, cluster_fit
from search.config import ExperimentConfig
from search.contradictions import contradictions
from search.draws import Draw, draws, estimated_networks, feasible_share
from search.elastic_phase import ElasticPhase
from search.feasible import check_feasible
from search.forecast import (
    ElasticLoad,
    Interval,
    KeptShare,
    TrialSeconds,
    as_trained,
    forecast,
    kept_share_of_study,
    prior_kept_share,
)
from search.latency_target import target_from
from search.launcher import Device
from search.modes import ModeParts
from search.plan import BudgetReach, Reach, SearchPlan
from search.plan_warnings import number_warnings
from search.reach import cheapest, count_networks
from search.recorded_pruning import kept_share_of_curves
from search.records import Latency, StudyRecord
from search.space import SearchSpace
from search.study_files import STUDY_FILE
from search.study_identity import Made, changes_between, check_accepted
from search.summary import num_counted
from search.trial_cost import measure_trials
from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from search.recorded import RecordedStudy
    from trainers.step_cost import TrainingCost

Progress = Callable[[float, str], None]


def make_plan(
    experiment: ExperimentConfig,
    table: LatencyTable,
    folder: Path,
    *,
    address: str | None = None,
    curves: RecordedStudy | None = None,
    progress: Progress = lambda _share, _text: None,
) -> SearchPlan:
    """Everything that can be said of a search before it trains.

    Args:
        experiment: the search; its paths are absolute.
        table: what prices it.
        folder: of its study, which may have trials already.
        address: of the Ray cluster that it would run on; this machine where not given.
        curves: a recorded study whose trials tell how early the experiment's pruner stops, until the study's own do.
        progress: told the finished share and what is being done.

    Raises:
        NothingFeasibleError: no configuration meets the budget, or one of several.
        StudyMismatchError: the study was made from another experiment.
        ClusterError: the cluster cannot be reached, or timing a trial was ended for want of memory.
        ConfigError, DataError, DivergedError: a trial cannot be trained.
    """
    priced = _Priced.of(experiment, table)
    check_feasible(priced.space, priced.price, priced.budget, table)
    study = _study(experiment, folder)
    progress(0.0, "pricing the space")
    drawn = draws(priced.space, priced.price)
    reach = _reach(priced, drawn)
    progress(0.3, "a few training steps of two trials")
    workers = experiment.trial_resources.workers
    phase = priced.elastic_phase(folder) if experiment.has_elastic_trials else None
    timed = [*_extremes(priced, drawn), *([] if phase is None else [phase.config])]
    costs = measure_trials(timed, num_threads=_num_threads(experiment), num_workers=workers)
    progress(0.9, "what there is to train on")
    cost = _with_memory_of_all(costs)
    fit = _fit(experiment, cost, address)
    num_done = 0 if study is None else num_counted(study)
    kept = _kept_share(as_trained(experiment), study, curves)
    elastic = None if phase is None else _elastic_load(phase, costs[-1], study)
    foreseen = forecast(
        experiment,
        _seconds(costs[:NUM_EXTREMES]),
        kept,
        num_at_once=max(1.0, fit.num_at_full_speed),
        num_done=num_done,
        elastic=elastic,
    )
    return SearchPlan(
        study=experiment.study.name,
        num_trials=experiment.search.num_schedules,
        num_done=num_done,
        num_epochs=as_trained(experiment).training.epochs,
        reach=reach,
        cost=cost,
        elastic=elastic,
        forecast=foreseen,
        fit=fit,
        warnings=(*contradictions(experiment), *fit.problems, *number_warnings(experiment, reach, foreseen)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Priced:
    """A search space with its prices and its budget."""

    experiment: ExperimentConfig
    space: SearchSpace
    table: LatencyTable
    price: Price
    dense: Latency
    budget: LatencyBudget

    @classmethod
    def of(cls, experiment: ExperimentConfig, table: LatencyTable) -> _Priced:
        price = cache(price_from(table))
        dense = price(PruningSchedule().plan(table.geometry))
        return cls(
            experiment=experiment,
            space=SearchSpace(experiment, table.geometry, target_from(experiment, table)),
            table=table,
            price=price,
            dense=dense,
            budget=LatencyBudget.from_config(experiment.latency, dense),
        )

    def elastic_phase(self, folder: Path) -> ElasticPhase:
        """The elastic trials of the search."""
        device = Device(
            geometry=self.table.geometry, price=self.price, table_sha256=self.table.sha256, table=self.table
        )
        return ModeParts(
            experiment=self.experiment, device=device, space=self.space, budget=self.budget, directory=folder
        ).phase()


def _reach(priced: _Priced, drawn: Sequence[Draw]) -> Reach:
    count = count_networks(priced.space)
    return Reach(
        dense=priced.dense,
        cheapest=cheapest(priced.space, priced.price, priced.table),
        drawn_ms=_spread([draw.latency.mean_ms for draw in drawn]),
        budgets=tuple(_budget_reach(drawn, each) for each in reversed(priced.budget.each)),
        count=count,
        num_estimated=None if count is not None else estimated_networks(draw.plan for draw in drawn),
    )


def _kept_share(experiment: ExperimentConfig, study: StudyRecord | None, curves: RecordedStudy | None) -> KeptShare:
    """How many of its epochs a trial trains: by the study's own trials, by recorded ones, or anything that can be."""
    own = None if study is None else kept_share_of_study(study, experiment)
    if own is None and curves is not None:
        source = f"by {len(curves.trials)} recorded trials"
        own = kept_share_of_curves(curves.trials, experiment, source=source)
    return own or prior_kept_share(experiment)


def _study(experiment: ExperimentConfig, folder: Path) -> StudyRecord | None:
    """The study as far as it is, None where there is none yet."""
    if not (folder / STUDY_FILE).is_file():
        return None
    from search.study import read_study

    study = read_study(folder)
    # The table is the study's own.
    stored, given = Made(experiment=study.experiment), Made(experiment=experiment.model_dump(mode="json"))
    check_accepted(study.name, changes_between(stored, given))
    return study


def _budget_reach(drawn: Sequence[Draw], budget: LatencyBudget) -> BudgetReach:
    return BudgetReach(max_latency_ms=budget.max_ms, source=budget.source, feasible=feasible_share(drawn, budget))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _extremes(priced: _Priced, drawn: Sequence[Draw]) -> list[TrialConfig]:
    """The slowest and the fastest trial within the budget: a search uses its budget up, but tries others too."""
    within = sorted((d for d in drawn if priced.budget.admits(d.latency)), key=lambda d: d.latency.mean_ms)
    return [within[-1].config, within[0].config] if within else [priced.space.fastest()[0]] * 2


NUM_EXTREMES = 2
"""As many as `_extremes` gives."""


def _num_threads(experiment: ExperimentConfig) -> int:
    """CPU threads that a worker trains with, as `search.ray_run` sets them."""
    return experiment.training.num_threads or experiment.trial_resources.threads_per_worker


def _with_memory_of_all(costs: Sequence[TrainingCost]) -> TrainingCost:
    """The first one's, with the memory of whichever needs most: an elastic trial may need more than any schedule."""
    on_gpu = [cost.gpu_peak_mib for cost in costs if cost.gpu_peak_mib is not None]
    peak_mib = max(cost.peak_mib for cost in costs)
    return replace(costs[0], peak_mib=peak_mib, gpu_peak_mib=max(on_gpu, default=None))


def _fit(experiment: ExperimentConfig, cost: TrainingCost, address: str | None) -> ClusterFit:
    if address is None:
        nodes: Sequence[Node] = [_this_machine(experiment)]
    else:
        from search.ray_nodes import cluster_nodes

        nodes = cluster_nodes(address)
    return cluster_fit(
        nodes,
        experiment.trial_resources,
        num_concurrent=experiment.search.num_concurrent,
        num_threads=_num_threads(experiment),
        worker_mib=cost.peak_mib,
        is_local=address is None,
    )


def _this_machine(experiment: ExperimentConfig) -> Node:
    from spvit.gpu import num_gpus

    return Node(
        num_cpus=len(os.sched_getaffinity(0)),
        num_gpus=num_gpus() if experiment.trial_resources.gpus else 0,
        memory_mib=_free_mib(),
    )


def _free_mib() -> float | None:
    """Memory that could be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return float(found[0][1]) / 1024.0 if found else None


def _seconds(costs: Sequence[TrainingCost]) -> TrialSeconds:
    """The epochs of the costliest configuration are the likely ones: a search uses its budget up."""
    return TrialSeconds(
        epoch=Interval(
            low=min(cost.epoch_s(cost.low_step_s) for cost in costs),
            high=max(cost.epoch_s(cost.high_step_s) for cost in costs),
            middle=costs[0].epoch_s(costs[0].step_s),
        ),
        warm_up=max(cost.warm_up_s for cost in costs),
        start=max(cost.build_s for cost in costs),
    )


def _elastic_load(phase: ElasticPhase, cost: TrainingCost, study: StudyRecord | None) -> ElasticLoad:
    """The elastic trials that have not begun. Their steps differ by what they draw; the mean is the likely one."""
    return ElasticLoad(
        num_trials=phase.num_due(() if study is None else study.trials),
        num_epochs=phase.config.training.epochs,
        epoch=Interval(
            low=cost.epoch_s(cost.low_step_s), high=cost.epoch_s(cost.high_step_s), middle=cost.epoch_s(cost.step_s)
        ),
        start=cost.build_s + cost.warm_up_s,
        pricing=cost.pricing_s,
    )
