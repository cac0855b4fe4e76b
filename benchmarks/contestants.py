"""Samplers of quality and latency that are compared: each proposes a configuration and is told what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from tables import Table

from search import KnownLatencySampler

OURS, RIVAL = "known latency", "Optuna GP"
SYNE_TUNE = (
    "Syne Tune is left out, as it is not installed. Put it beside the environment:\n"
    "  pip install --no-deps --target /tmp/bench-site syne-tune dill sortedcontainers statsmodels"
)
QUALITY, LATENCY, EPOCH = "quality", "latency", "epoch"


class Contestant(Protocol):
    """One search."""

    def ask(self) -> Mapping[str, Any]:
        """The next configuration."""

    def tell(self, quality: float, latency: float) -> None:
        """What the last one reached."""


class OptunaContestant:
    """A sampler of Optuna's interface on a study of two objectives."""

    def __init__(self, table: Table, sampler: optuna.samplers.BaseSampler) -> None:
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self._distributions = dict(table.distributions)
        self._trial: optuna.Trial

    def ask(self) -> Mapping[str, Any]:
        """The next configuration."""
        self._trial = self._study.ask(self._distributions)
        params: Mapping[str, Any] = self._trial.params
        return params

    def tell(self, quality: float, latency: float) -> None:
        """What the last one reached."""
        self._study.tell(self._trial, [quality, latency])


class SyneTuneContestant:
    """A scheduler of Syne Tune whose trials report once, as tables hold final values only.

    Its MOASHA draws from numpy's global generator, whose state is kept here.
    """

    def __init__(self, table: Table, make: Callable[..., Any], seed: int) -> None:
        from syne_tune import config_space

        def domain(distribution: Any) -> Any:
            if isinstance(distribution, IntDistribution):
                return config_space.randint(distribution.low, distribution.high)
            assert isinstance(distribution, CategoricalDistribution)
            return config_space.choice(list(distribution.choices))

        space = {name: domain(distribution) for name, distribution in table.distributions.items()}
        np.random.seed(seed)  # what MOASHA draws from
        self._state = np.random.get_state()
        self._scheduler = make(space, seed)
        self._number = -1
        self._trial: Any = None

    def ask(self) -> Mapping[str, Any]:
        """The next configuration."""
        from syne_tune.backend.trial_status import Trial

        np.random.set_state(self._state)
        config: Mapping[str, Any] = self._scheduler.suggest().config
        self._state = np.random.get_state()
        self._number += 1
        self._trial = Trial(trial_id=self._number, config=dict(config), creation_time=datetime.now(UTC))
        self._scheduler.on_trial_add(self._trial)
        return config

    def tell(self, quality: float, latency: float) -> None:
        """What the last one reached."""
        self._scheduler.on_trial_complete(self._trial, {QUALITY: -quality, LATENCY: latency, EPOCH: 1})


MakeContestant = Callable[[Table, int], Contestant]
"""From the table and a seed."""


@cache
def contestants() -> dict[str, MakeContestant]:
    """By name; those of Syne Tune only where it is installed."""
    samplers = optuna.samplers
    made: dict[str, MakeContestant] = {
        "random": lambda t, seed: OptunaContestant(t, samplers.RandomSampler(seed=seed)),
        "NSGA-II": lambda t, seed: OptunaContestant(t, samplers.NSGAIISampler(population_size=20, seed=seed)),
        "TPE multivariate": lambda t, seed: OptunaContestant(t, samplers.TPESampler(multivariate=True, seed=seed)),
        RIVAL: lambda t, seed: OptunaContestant(t, samplers.GPSampler(seed=seed, deterministic_objective=False)),
        OURS: lambda t, seed: OptunaContestant(t, KnownLatencySampler(t.latency, seed=seed)),
    }
    return made | _of_syne_tune()


def _of_syne_tune() -> dict[str, MakeContestant]:
    try:
        from syne_tune.optimizer.baselines import RandomSearch
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
    except ImportError as error:
        print(f"{SYNE_TUNE}\n  ({error})")
        return {}

    def random(space: dict[str, Any], seed: int) -> Any:
        return RandomSearch(space, [QUALITY], random_seed=seed)  # its searcher takes one metric, and looks at none

    def moasha(space: dict[str, Any], seed: int) -> Any:
        return MOASHA(space, [QUALITY, LATENCY], time_attr=EPOCH, max_t=2, random_seed=seed)

    return {
        "Syne Tune random": lambda table, seed: SyneTuneContestant(table, random, seed),
        "Syne Tune MOASHA": lambda table, seed: SyneTuneContestant(table, moasha, seed),
    }
