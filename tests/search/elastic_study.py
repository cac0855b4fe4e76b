"""Searches with elastic weights, without Ray: workers are simulated, the weights are files."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tabulated
import torch

from search.budget import LatencyBudget
from search.checkpoint_store import CheckpointStore
from search.config import ExperimentConfig
from search.driver import SearchDriver
from search.launcher import Device
from search.limits import Limits
from search.modes import ModeParts
from search.published_trials import study_url
from search.records import TrialRecord
from search.retries import root_of
from search.simulated_workers import SimulatedWorkers
from search.space import SearchSpace
from search.study_opening import OpeningTerms
from spvit.schedule import PruningSchedule
from trainers.checkpoint import save_checkpoint
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics, Evaluation, PricedSchedule

NUM_BANDS = 3


def experiment(directory: Path, mode: str = "auto", **search: Any) -> ExperimentConfig:
    elastic = {"num_trials": 2, "num_bands": NUM_BANDS, "epochs": 3, "contender_epochs": 2, "num_priced": 12}
    settings = {"mode": mode, "elastic": elastic | search.pop("elastic", {}), "pruner": "none"} | search
    config = tabulated.experiment(directory, **settings)
    losses = config.search.space.losses | {"distillation": config.search.space.losses["ratio"]}
    space = config.search.space.model_copy(update={"losses": losses})
    return config.model_copy(update={"search": config.search.model_copy(update={"space": space})})


def budget(config: ExperimentConfig) -> LatencyBudget:
    return LatencyBudget.from_config(config.latency, tabulated.dense())


def make_driver(config: ExperimentConfig, *, terms: OpeningTerms | None = None) -> SearchDriver:
    store, space = tabulated.make_store(config, terms=terms), SearchSpace(config, tabulated.GEOMETRY)
    parts = ModeParts(
        experiment=config,
        device=Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256=""),
        space=space,
        budget=budget(config),
        directory=store.directory,
    )
    driver = parts.driver_type()(
        store=store,
        proposer=tabulated.make_proposer(config),
        pruner=parts.pruner(),
        limits=Limits.from_config(config),
    )
    driver.start()
    return driver


def run(
    config: ExperimentConfig,
    driver: SearchDriver | None = None,
    *,
    max_reports: int | None = None,
    sign: float = 1.0,
) -> SearchDriver:
    """Plays the workers of the search's own driver, or another; `sign` turns around what trained schedules reach."""
    driver = driver or make_driver(config)
    report: Callable[[TrialRecord, int], Mapping[str, Any]] = partial(_report, config, sign)
    SimulatedWorkers(report=report, epoch_s=lambda trial, epoch: 1.0, max_reports=max_reports).run(driver)
    return driver


def top1(rates: Sequence[float], sign: float = 1.0) -> float:
    return 70.0 + sign * 10.0 * sum(rates) / len(rates)


def _report(config: ExperimentConfig, sign: float, trial: TrialRecord, epoch: int) -> Mapping[str, Any]:
    """What workers say; an elastic one leaves weights in its folder first, or where they are published."""
    trained = TrialConfig.model_validate(trial.config)
    if trained.elastic is None:
        return tabulated.metrics(epoch, top1(trained.pruning.schedule.keep_rates, sign) + 0.1 * epoch)
    _save_weights(config, str(root_of(trial)), epoch)
    evaluation = Evaluation(top1=50.0, top5=99.0, loss=1.0, num_images=100)
    return EpochMetrics(epoch=epoch, evaluation=evaluation, priced=_priced(trained)).to_dict()


def _priced(config: TrialConfig) -> tuple[PricedSchedule, ...]:
    rng = random.Random(config.losses.distillation)
    rates = [sorted((rng.uniform(0.15, 0.9) for _ in range(3)), reverse=True) for _ in range(24)]
    return tuple(
        PricedSchedule(schedule=PruningSchedule.from_keep_rates(each, (1, 2, 4)), cost=1.0, top1=top1(each))
        for each in rates
    )


def _save_weights(config: ExperimentConfig, trial: str, epoch: int) -> None:
    url = study_url(config)
    folder = config.study.directory / ("toy" if url is None else "machine") / "trials" / trial
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"w": torch.full((2,), float(epoch))}
    save_checkpoint(folder, epoch, weights=weights, training_weights=None, optimizer={}, meta={"identity": "x"})
    if url is not None:
        CheckpointStore(url).publish(trial, folder)
