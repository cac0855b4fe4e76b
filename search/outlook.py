"""What one more trial is expected to bring to a study, by the sampler's own model of quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.acquisition import REFERENCE_SHORTFALL_QUANTILE
from search.candidates import Candidates
from search.ehvi import Staircase, expected_improvement, staircase
from search.outcomes import Outcome
from search.parameters import ParameterSpace
from search.quality_model import QualityModel

NUM_DRAWS = 500
"""Random configurations that the reference quality is taken from, as in a proposal of the sampler."""
NORMAL_95 = 1.645
"""A normal variable lies within so many standard deviations of its mean in nine cases of ten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Top-1 in percent that a configuration is expected to reach, and what that would add.

    The interval holds what one training shows in nine cases of ten: the doubt of the model and the noise of a training.
    `gain` is the expected growth of hypervolume in percent x ms; noise adds nothing to it.
    """

    top1: float
    low_top1: float
    high_top1: float
    gain: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What is believed of configurations, and the front that they would have to beat."""

    model: QualityModel
    front: Staircase

    @classmethod
    def of(
        cls,
        space: ParameterSpace,
        known: Sequence[Outcome],
        *,
        tried: Candidates,
        measured: Sequence[tuple[float, float]] = (),
        reference_ms: float,
    ) -> Outlook:
        """The outlook after some trials.

        Args:
            space: what configurations are made of.
            known: what every trial says about quality, those that were stopped early included.
            tried: the trials that are on the front or may come to be; they count at what is believed of them, which
                is less noisy than what they showed.
            measured: further points of the front outside of the space, (latency in ms, top-1 in percent).
            reference_ms: slower configurations add nothing.
        """
        model = QualityModel.fit(space, known, None)
        drawn = space.draw(np.random.default_rng(0), NUM_DRAWS)
        reference = float(np.exp(np.quantile(model.predict(drawn)[0], REFERENCE_SHORTFALL_QUANTILE)))
        scale = model.scale
        shown = scale.log_shortfalls(scale.standardised(np.array([top1 for _, top1 in measured], dtype=float)))
        front = staircase(
            np.concatenate([tried.latencies_ms[:, 0], [ms for ms, _ in measured]]),
            np.exp(np.concatenate([model.predict(tried.params)[0], shown])),
            reference_ms=reference_ms,
            reference_shortfall=reference,
        )
        return cls(model=model, front=front)

    def forecast(self, params: Mapping[str, Any], latency_ms: float) -> Forecast:
        """What a configuration of known latency is expected to reach and to add."""
        means, stds = self.model.predict([params])
        spread = NORMAL_95 * np.hypot(stds[0], self.model.noise_std)
        high, middle, low = (
            float(min(100.0, self.model.scale.ceiling - np.exp(means[0] + shift))) for shift in (-spread, 0.0, spread)
        )
        gain = float(expected_improvement(self.front, np.array([latency_ms]), means, stds)[0])
        return Forecast(top1=middle, low_top1=low, high_top1=high, gain=gain)
