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
Params = Mapping[str, Any]
PriorMean = Callable[[Params], float]
"""A guess of a configuration's quality; only its order and its proportions count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A prior mean, shifted and stretched to the qualities that trials had."""

    prior_mean: PriorMean
    slope: float
    offset: float

    @classmethod
    def calibrated(cls, prior_mean: PriorMean, configurations: Sequence[Params], qualities: Array) -> Guess:
        """The guess with the mean and the spread of these trials' qualities."""
        guesses = np.array([prior_mean(params) for params in configurations], dtype=float)
        slope = float(np.std(qualities) / np.std(guesses)) if np.std(guesses) > 0 and np.std(qualities) > 0 else 1.0
        return cls(prior_mean=prior_mean, slope=slope, offset=float(np.mean(qualities) - slope * np.mean(guesses)))

    def qualities(self, configurations: Sequence[Params]) -> Array:
        """Guessed quality of configurations, (num_configurations,)."""
        return self.offset + self.slope * np.array([self.prior_mean(params) for params in configurations], dtype=float)


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityModel:
    """A Gaussian process on the log of what quality lacks to a ceiling; see `ShortfallScale`."""

    space: ParameterSpace
    scale: ShortfallScale
    guess: Guess | None
    process: GaussianProcess

    @classmethod
    def fit(cls, space: ParameterSpace, known: Sequence[Outcome], prior_mean: PriorMean | None) -> QualityModel:
        """The model of these trials. Running ones are believed to reach what the finished ones predict for them.

        Args:
            space: what configurations are made of.
            known: trials, at least one of them with a quality.
            prior_mean: enters the mean, calibrated to the trials, with a weight that is learned.
        """
        finished = [outcome.params for outcome in known if outcome.quality is not None]
        pending = [outcome.params for outcome in known if outcome.quality is None]
        qualities = np.array([outcome.quality for outcome in known if outcome.quality is not None], dtype=float)
        scale = ShortfallScale.of(qualities)
        guess = None if prior_mean is None else Guess.calibrated(prior_mean, finished, qualities)
        process = fit(_inputs(space, finished, scale, guess), scale.standardised(qualities))
        if pending:
            process = process.believing(_inputs(space, pending, scale, guess))
        return cls(space=space, scale=scale, guess=guess, process=process)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the log shortfall that one trial shows around what its configuration is good for."""
        return self.scale.spread * self.process.noise_std

    def predict(self, configurations: Sequence[Params]) -> tuple[Array, Array]:
        """Mean and standard deviation of the log shortfall without noise, each (num_configurations,)."""
        mean, std = self.process.predict(_inputs(self.space, configurations, self.scale, self.guess))
        return self.scale.log_shortfalls(mean), self.scale.spread * std


def inputs(space: ParameterSpace, configurations: Sequence[Params], *features: Array) -> Inputs:
    """Configurations as a process sees them, with a constant and the given features as its mean."""
    return Inputs(
        columns=space.encode(configurations),
        is_category=space.is_category,
        basis=np.column_stack([np.ones(len(configurations)), *features]),
    )


def _inputs(
    space: ParameterSpace, configurations: Sequence[Params], scale: ShortfallScale, guess: Guess | None
) -> Inputs:
    if guess is None:
        return inputs(space, configurations)
    return inputs(space, configurations, scale.standardised(guess.qualities(configurations)))
