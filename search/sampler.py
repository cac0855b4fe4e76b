"""Optuna's samplers by name, seeded anew for every draw."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from search.search_config import SamplerName

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from search.parameters import ParameterSpace

NSGA2_POPULATION = 20
NUM_EI_CANDIDATES = 24
NUM_CANDIDATES = 500
"""Each is priced: with 1000 more from its local search, in 0.1 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """What is known of parameters before a trial exists.

    Attributes:
        latency_ms: predicted latency.
        max_latency_ms: the budget.
        accepts: whether they may become a trial, as far as can be told cheaply: within the budget, and new.
        space: where candidates come from; learned from the trials if None.
        prior_mean: a guess of a configuration's quality, such as elastic weights give.
    """

    latency_ms: Callable[[Mapping[str, Any]], float]
    max_latency_ms: float
    accepts: Callable[[Mapping[str, Any]], bool]
    space: ParameterSpace | None = None
    prior_mean: Callable[[Mapping[str, Any]], float] | None = None


class SamplerFactory(Protocol):
    """Makes a sampler anew for every draw."""

    def __call__(self, name: SamplerName, *, seed: int, num_startup_trials: int, knowledge: Knowledge) -> BaseSampler:
        """As `make_sampler` does."""


def make_sampler(name: SamplerName, *, seed: int, num_startup_trials: int, knowledge: Knowledge) -> BaseSampler:
    """A sampler for two objectives (top-1 up, latency down).

    Args:
        name: which sampler.
        seed: of this sampler; see `draw_seed`.
        num_startup_trials: trials before the sampler's model is used.
        knowledge: for the sampler that uses it.
    """
    from optuna import samplers

    from search.known_latency_draw import KnownLatencyDraw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that multivariate TPE and GPs may change; versions are pinned
        match name:
            case SamplerName.TPE:
                return samplers.TPESampler(
                    n_startup_trials=num_startup_trials,
                    n_ei_candidates=NUM_EI_CANDIDATES,
                    multivariate=True,
                    group=True,  # parameters that not every trial asks for
                    constant_liar=True,
                    seed=seed,
                )
            case SamplerName.NSGA2:
                return samplers.NSGAIISampler(population_size=NSGA2_POPULATION, seed=seed)
            case SamplerName.GP:
                return samplers.GPSampler(n_startup_trials=num_startup_trials, seed=seed, deterministic_objective=False)
            case SamplerName.RANDOM:
                return samplers.RandomSampler(seed=seed)
            case SamplerName.KNOWN_LATENCY:
                return KnownLatencyDraw(
                    knowledge.latency_ms,
                    max_latency_ms=knowledge.max_latency_ms,
                    cap_weight=0.0,  # a study's result is its whole front; without a budget the cap is the dense model
                    accepts=knowledge.accepts,
                    space=knowledge.space,
                    prior_mean=knowledge.prior_mean,
                    seed=seed,
                    num_startup_trials=num_startup_trials,
                    num_candidates=NUM_CANDIDATES,
                )


def draw_seed(study_seed: int, trial_number: int, draw: int) -> int:
    """A seed for one draw for one trial, in [0, 2**32).

    A function of its arguments alone, so that a resumed study goes on as if it had never stopped; one seed for the
    whole study would repeat its first suggestions after every restart.
    """
    digest = hashlib.sha256(f"{study_seed}/{trial_number}/{draw}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
