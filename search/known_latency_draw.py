"""The sampler that knows latency, as the proposer asks it: anew for every draw."""

from __future__ import annotations

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.known_latency import KnownLatencySampler
from search.parameters import Params
from spvit.errors import NothingFeasibleError


class KnownLatencyDraw(KnownLatencySampler):
    """One draw: its seed already tells trials apart, whose numbers in the proposer's shadow change on a restart."""

    def rng(self, trial_number: int, *more: int) -> np.random.Generator:
        """Randomness from the seed alone."""
        del trial_number
        return super().rng(0, *more)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """The proposal; left to chance, and to the proposer's verdict, if nothing seems to be left to propose."""
        try:
            return super().sample_relative(study, trial, search_space)
        except NothingFeasibleError:
            return {}
