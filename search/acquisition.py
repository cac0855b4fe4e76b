"""What a candidate is worth: expected hypervolume over the front of what the trials are believed to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.candidates import Candidates
from search.ehvi import Staircase, expected_improvement, staircase
from search.gp import distances
from search.parameters import ParameterSpace
from search.quality_model import QualityModel, inputs

REFERENCE_LATENCY_QUANTILE = 0.99
REFERENCE_SHORTFALL_QUANTILE = 0.9
"""Of random configurations: hypervolume is counted from here, so that a few useless ones do not decide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """The worth of candidates to one study.

    Attributes:
        model: of quality.
        front: what the trials are believed to reach, which is less noisy than what they showed.
        members: configurations on the front.
    """

    model: QualityModel
    front: Staircase
    members: list[Mapping[str, Any]]

    @classmethod
    def of(cls, model: QualityModel, *, tried: Candidates, pool: Candidates, max_latency_ms: float) -> Acquisition:
        """The worth with these trials, running ones included.

        Args:
            model: of quality.
            tried: the trials' configurations.
            pool: random feasible configurations; they set the reference point.
            max_latency_ms: the reference latency if it is finite.
        """
        reference_ms = max_latency_ms
        if math.isinf(reference_ms):
            reference_ms = float(np.quantile(pool.latencies_ms, REFERENCE_LATENCY_QUANTILE))
        reference = float(np.exp(np.quantile(model.predict(pool.params)[0], REFERENCE_SHORTFALL_QUANTILE)))
        shortfalls = np.exp(model.predict(tried.params)[0])
        front = staircase(tried.latencies_ms, shortfalls, reference_ms=reference_ms, reference_shortfall=reference)
        on_front = np.isin(shortfalls, front.shortfalls)
        members = [params for params, is_member in zip(tried.params, on_front, strict=True) if is_member]
        return cls(model=model, front=front, members=members)

    def gains(self, candidates: Candidates) -> NDArray[np.float64]:
        """Expected gain of hypervolume, (num_candidates,)."""
        return expected_improvement(self.front, candidates.latencies_ms, *self.model.predict(candidates.params))


def farthest(space: ParameterSpace, *, pool: Candidates, tried: Candidates) -> Mapping[str, Any]:
    """The candidate farthest from everything tried, in parameters and in rank of latency."""
    if not len(tried):
        return pool.params[0]
    ladder = np.sort(pool.latencies_ms)
    ranks = np.searchsorted(ladder, pool.latencies_ms) / len(ladder)
    tried_ranks = np.searchsorted(ladder, tried.latencies_ms) / len(ladder)
    apart = distances(inputs(space, pool.params), inputs(space, tried.params))
    return pool.params[int(np.argmax(np.min(apart + np.abs(ranks[:, None] - tried_ranks), axis=1)))]
