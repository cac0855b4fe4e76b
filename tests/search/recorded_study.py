"""A recorded study of tabulated trials: a random sample of their space, each with its price and a learning curve."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import tabulated

from search.recorded import RecordedStudy, RecordedTrial
from search.space import SearchSpace
from search.study_report import experiment_toml

EPOCHS = 4


def recorded_study(directory: Path, *, num_trials: int = 40, seed: int = 0, **search: Any) -> RecordedStudy:
    config = tabulated.experiment(directory, **search)
    space = SearchSpace(config, tabulated.GEOMETRY)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    noise = random.Random(seed)
    return RecordedStudy(
        trials=tuple(_trial(space, study.ask(), noise) for _ in range(num_trials)),
        epochs=EPOCHS,
        experiment=experiment_toml(config.model_dump(mode="json")),
        geometry=tabulated.GEOMETRY,
        dense_ms=tabulated.dense().mean_ms,
        provenance={"device": "a table"},
    )


def _trial(space: SearchSpace, trial: optuna.Trial, noise: random.Random) -> RecordedTrial:
    config = space.suggest(trial)
    plan = space.network_of(config)
    latency = tabulated.price(plan)
    final = 60 + latency.mean_ms - 4 * abs(config.losses.ratio - 1)
    return RecordedTrial(
        number=trial.number,
        params=trial.params,
        config=config.to_dict(),
        block_tokens=plan.block_tokens,
        latency=latency,
        curve=tuple(final - 8 / epoch + noise.gauss(0.0, 0.3) for epoch in range(1, EPOCHS + 1)),
        epoch_s=tuple(latency.mean_ms * noise.uniform(0.9, 1.1) for _ in range(EPOCHS)),
    )
