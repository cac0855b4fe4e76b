"""A finished study of a small model that timm really has, made in a second: real proposals and storage, no training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from small_table import small_table

from latency_tables.measurement import Measurement
from latency_tables.table import LatencyTable
from search.budget import LatencyBudget, price_from
from search.config import ExperimentConfig
from search.experiment import validate
from search.proposal import Proposal
from search.proposer import Proposer
from search.space import SearchSpace
from search.study import StudyFacts, StudyStore
from spvit.factory import create_backbone
from spvit.schedule import PruningSchedule

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}


def experiment(directory: Path, **changes: Any) -> ExperimentConfig:
    values: dict[str, Any] = {
        "study": {"name": "small", "directory": str(directory), "seed": 5},
        "model": {"name": NAME, "args": ARGS},
        "data": {"path": "nowhere"},
        "pruning": {"blocks": [1, 2], "stage_keep_rates": [0.7, 0.5]},
        "training": {"epochs": 3, "freeze_epochs": 0},
        "latency": {"batch_size": 4, "max_latency_share": 0.9},
        "search": {
            "mode": "schedule",
            "num_trials": 12,
            "sampler": "random",
            "space": {
                "stage_keep_rates": {"low": 0.15, "high": 0.95},
                "losses": {"ratio": {"low": 0.1, "high": 4.0, "log": True}},
            },
        },
    }
    return validate(values | changes, source="test")


def table(**changes: Any) -> LatencyTable:
    """The device that the study was searched on."""
    return small_table(create_backbone(NAME, args=ARGS), NAME, **changes)


def scaled(original: LatencyTable, factor: float) -> LatencyTable:
    """A device that is slower by a factor in everything."""

    def slower(row: Measurement) -> Measurement:
        return replace(row, median_ms=factor * row.median_ms, low_ms=factor * row.low_ms, high_ms=factor * row.high_ms)

    curves = ("blocks", "selections", "last_blocks")
    return replace(
        original,
        **{name: slower(getattr(original, name)) for name in ("stem", "head", "dense", "reference")},
        **{name: {n: slower(row) for n, row in getattr(original, name).items()} for name in curves},
    )


def top1(proposal: Proposal) -> float:
    """More tokens are better, the later ones less; a ratio weight near 1 is best."""
    tokens = sum(math.sqrt(count) for count in proposal.plan.block_tokens)
    return 60 + 2.5 * tokens - 0.3 * abs(math.log(proposal.config.losses.ratio))


def make_study(config: ExperimentConfig, priced_by: LatencyTable, *, num_trials: int = 8, num_pruned: int = 1) -> Path:
    """The folder of a study with its fixed schedule and so many trials; the last ones were stopped early."""
    space, price = SearchSpace(config, priced_by.geometry), price_from(priced_by)
    dense = price(PruningSchedule().plan(priced_by.geometry))
    budget = LatencyBudget.from_config(config.latency, dense)
    facts = StudyFacts(dense_latency=dense, max_latency_ms=budget.max_ms, table_sha256=priced_by.sha256)
    store = StudyStore.open(config, facts, space)
    proposer = Proposer(space, price=price, budget=budget, config=config.search, seed=config.study.seed)
    baseline = proposer.baseline()
    if baseline is not None:
        store.complete(_trained(store, baseline), top1(baseline))
    for number in range(1, num_trials + 1):
        proposal = proposer.propose(number)
        assert proposal is not None
        trial = _trained(store, proposal)
        is_pruned = number > num_trials - num_pruned
        record = store.prune(trial, "behind") if is_pruned else store.complete(trial, top1(proposal))
        proposer.end(record)
    store.set_dense_top1(91.0)
    return store.directory


def _trained(store: StudyStore, proposal: Proposal) -> int:
    number = store.start(proposal).number
    for epoch in (1, 2, 3):
        store.report_epoch(number, epoch, top1(proposal) - 3 + epoch)
    return number
