"""What is believed of the quality of configurations, from the trials so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.gp import GaussianProcess, Inputs, fit
from search.outcomes import Outcome
from search.parameters import ParameterSpace
from search.shortfall import ShortfallScale

Array = NDArray[np.float64]
PriorMean = Callable[[Mapping[str, Any]], float]
"""A guess of a configuration's quality; only its order and its proportions count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityModel:
    """A Gaussian process on the log of what quality lacks to a ceiling; see `ShortfallScale`."""

    space: ParameterSpace
    scale: ShortfallScale
    prior_mean: PriorMean | None
    process: GaussianProcess

    @classmethod
    def fit(cls, space: ParameterSpace, known: Sequence[Outcome], prior_mean: PriorMean | None) -> QualityModel:
        """The model of these trials. Running ones are believed to reach what the finished ones predict for them.

        Args:
            space: what configurations are made of.
            known: trials, at least one of them with a quality.
            prior_mean: enters the mean with a weight that is learned, so it needs no calibration.
        """
        finished = [outcome.params for outcome in known if outcome.quality is not None]
        pending = [outcome.params for outcome in known if outcome.quality is None]
        qualities = np.array([outcome.quality for outcome in known if outcome.quality is not None], dtype=float)
        scale = ShortfallScale.of(qualities)
        process = fit(_inputs(space, finished, scale, prior_mean), scale.standardised(qualities))
        if pending:
            process = process.believing(_inputs(space, pending, scale, prior_mean))
        return cls(space=space, scale=scale, prior_mean=prior_mean, process=process)

    def predict(self, configurations: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """Mean and standard deviation of the log shortfall without noise, each (num_configurations,)."""
        mean, std = self.process.predict(_inputs(self.space, configurations, self.scale, self.prior_mean))
        return self.scale.log_shortfalls(mean), self.scale.spread * std


def inputs(space: ParameterSpace, configurations: Sequence[Mapping[str, Any]], *features: Array) -> Inputs:
    """Configurations as a process sees them, with a constant and the given features as its mean."""
    return Inputs(
        columns=space.encode(configurations),
        is_category=space.is_category,
        basis=np.column_stack([np.ones(len(configurations)), *features]),
    )


def _inputs(
    space: ParameterSpace,
    configurations: Sequence[Mapping[str, Any]],
    scale: ShortfallScale,
    prior_mean: PriorMean | None,
) -> Inputs:
    if prior_mean is None:
        return inputs(space, configurations)
    guesses = np.array([prior_mean(params) for params in configurations], dtype=float)
    return inputs(space, configurations, scale.standardised(guesses))
