"""Optuna's samplers by name, seeded anew for every draw."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

from search.config import SamplerName

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

NSGA2_POPULATION = 20
NUM_EI_CANDIDATES = 24


def make_sampler(name: SamplerName, *, seed: int, num_startup_trials: int) -> BaseSampler:
    """A sampler for two objectives (top-1 up, latency down).

    Other samplers, such as one that takes latency as known, belong behind this function.

    Args:
        name: which sampler.
        seed: of this sampler; see `draw_seed`.
        num_startup_trials: trials drawn at random before the sampler's model is used.
    """
    from optuna import samplers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that multivariate TPE and GPs may change; versions are pinned
        match name:
            case SamplerName.TPE:
                return samplers.TPESampler(
                    n_startup_trials=num_startup_trials,
                    n_ei_candidates=NUM_EI_CANDIDATES,
                    multivariate=True,
                    constant_liar=True,
                    seed=seed,
                )
            case SamplerName.NSGA2:
                return samplers.NSGAIISampler(population_size=NSGA2_POPULATION, seed=seed)
            case SamplerName.GP:
                return samplers.GPSampler(n_startup_trials=num_startup_trials, seed=seed, deterministic_objective=False)
            case SamplerName.RANDOM:
                return samplers.RandomSampler(seed=seed)


def draw_seed(study_seed: int, trial_number: int, draw: int) -> int:
    """A seed for one draw for one trial, in [0, 2**32).

    A function of its arguments alone, so that a resumed study goes on as if it had never stopped; one seed for the
    whole study would repeat its first suggestions after every restart.
    """
    digest = hashlib.sha256(f"{study_seed}/{trial_number}/{draw}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
