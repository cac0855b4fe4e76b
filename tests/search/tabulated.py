"""A search on tabulated trials: known prices and learning curves, no training, no Ray."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from search.budget import LatencyBudget
from search.config import ExperimentConfig
from search.driver import SearchDriver
from search.limits import Limits
from search.proposer import Proposer
from search.pruner import PeerPruner
from search.records import Latency, TrialRecord
from search.simulated_workers import SimulatedWorkers
from search.space import SearchSpace
from search.study import StudyFacts, StudyStore
from search.study_opening import OpeningTerms
from spvit.schedule import PruningSchedule, TokenGeometry, TokenPlan
from trainers.metrics import EpochMetrics, Evaluation

GEOMETRY = TokenGeometry(depth=6, num_patches=49)


def experiment(directory: Path, **search: Any) -> ExperimentConfig:
    settings = {"num_trials": 8, "num_concurrent": 2, "num_startup_trials": 3, "grace_epochs": 1}
    space = {
        "stage_keep_rates": {"low": 0.15, "high": 0.9},
        "losses": {"ratio": {"low": 0.1, "high": 4.0, "log": True}},
    }
    return ExperimentConfig.model_validate(
        {
            "study": {"name": "toy", "directory": str(directory), "seed": 3},
            "model": {"name": "toy"},
            "data": {"path": "nowhere"},
            "pruning": {"blocks": [1, 2, 4], "base_keep_rate": 0.7},
            "training": {"epochs": 4, "freeze_epochs": 0},
            "latency": {"max_latency_share": 0.7},
            "search": {"mode": "schedule"} | settings | {"space": space} | search,
        }
    )


def price(plan: TokenPlan) -> Latency:
    mean_ms = sum(plan.block_tokens) / 30
    return Latency(mean_ms=mean_ms, low_ms=0.98 * mean_ms, high_ms=1.02 * mean_ms)


def dense() -> Latency:
    return price(PruningSchedule().plan(GEOMETRY))


def top1(trial: TrialRecord, epoch: int) -> float:
    """Slower models are better, a ratio weight near 1 is best, and every epoch gains."""
    ratio = trial.config["losses"]["ratio"]
    return 60 + 3 * trial.latency.mean_ms - abs(ratio - 1) + 2 * epoch


def metrics(epoch: int, value: float) -> dict[str, Any]:
    evaluation = Evaluation(top1=value, top5=99.0, loss=1.0, num_images=100)
    return EpochMetrics(epoch=epoch, evaluation=evaluation, loss_terms={"ratio": 0.1}).to_dict()


def make_store(config: ExperimentConfig, *, sha256: str = "", terms: OpeningTerms | None = None) -> StudyStore:
    budget = LatencyBudget.from_config(config.latency, dense())
    facts = StudyFacts(
        dense_latency=dense(),
        max_latency_ms=budget.max_ms,
        smaller_budgets_ms=budget.smaller_ms,
        table_sha256=sha256,
    )
    return StudyStore.open(config, facts, SearchSpace(config, GEOMETRY), terms or OpeningTerms())


def make_proposer(config: ExperimentConfig) -> Proposer:
    budget = LatencyBudget.from_config(config.latency, dense())
    space = SearchSpace(config, GEOMETRY)
    return Proposer(space, price=price, budget=budget, config=config.search, seed=config.study.seed)


def make_driver(
    config: ExperimentConfig,
    *,
    terms: OpeningTerms | None = None,
    driver_type: type[SearchDriver] = SearchDriver,
    **kwargs: Any,
) -> SearchDriver:
    driver = driver_type(
        store=make_store(config, terms=terms),
        proposer=make_proposer(config),
        pruner=PeerPruner(config.search, config.training, config.study.name),
        limits=Limits.from_config(config),
        **kwargs,
    )
    driver.start()
    return driver


def run(driver: SearchDriver, *, max_reports: int | None = None, seed: int = 0, report: Any = None) -> int:
    """Plays Ray: starts what there is room for; epochs take as long as chance has it. Returns reports."""
    order = random.Random(seed)
    workers = SimulatedWorkers(
        report=report or (lambda trial, epoch: metrics(epoch, top1(trial, epoch))),
        epoch_s=lambda trial, epoch: order.expovariate(1.0),
        max_reports=max_reports,
    )
    workers.run(driver)
    return workers.num_reports
