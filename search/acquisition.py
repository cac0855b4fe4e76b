"""What a candidate is worth: expected hypervolume over the front of what the trials are believed to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.candidates import Candidates
from search.ehvi import Staircase, expected_improvement, put, staircase
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
        fronts: what the trials are believed to reach on each device, which is less noisy than what they showed.
        spans_ms: from the fastest candidate to the reference latency of each device, which makes milliseconds of a slow
            device and of a fast one the same: gains are summed over devices.
        cap_weights: what the best quality anywhere within a device's cap counts; 0 where there is none.
        members: configurations on a front.
    """

    model: QualityModel
    fronts: tuple[Staircase, ...]
    spans_ms: tuple[float, ...]
    cap_weights: tuple[float, ...]
    members: list[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        model: QualityModel,
        *,
        tried: Candidates,
        pool: Candidates,
        caps_ms: tuple[float, ...],
        cap_weight: float = 0.0,
    ) -> Acquisition:
        """The worth with these trials, running ones included.

        Args:
            model: of quality.
            tried: the trials' configurations.
            pool: random feasible configurations; they set the reference point.
            caps_ms: the reference latency of each device where it is finite.
            cap_weight: what the best quality anywhere within a cap counts beside the mean over all latencies up to it.
        """
        slow_ms = np.quantile(pool.latencies_ms, REFERENCE_LATENCY_QUANTILE, axis=0)
        references_ms = np.where(np.isfinite(caps_ms), caps_ms, slow_ms)
        reference = float(np.exp(np.quantile(model.predict(pool.params)[0], REFERENCE_SHORTFALL_QUANTILE)))
        shortfalls = np.exp(model.predict(tried.params)[0])
        fronts = tuple(
            staircase(own_ms, shortfalls, reference_ms=float(reference_ms), reference_shortfall=reference)
            for own_ms, reference_ms in zip(tried.latencies_ms.T, references_ms, strict=True)
        )
        on_front = np.isin(shortfalls, np.concatenate([front.shortfalls for front in fronts]))
        spans_ms = references_ms - np.min(pool.latencies_ms, axis=0)
        return cls(
            model=model,
            fronts=fronts,
            spans_ms=tuple(np.where(spans_ms > 0, spans_ms, 1.0).tolist()),
            cap_weights=tuple(cap_weight if np.isfinite(cap_ms) else 0.0 for cap_ms in caps_ms),
            members=[params for params, is_member in zip(tried.params, on_front, strict=True) if is_member],
        )

    def gains(self, candidates: Candidates) -> NDArray[np.float64]:
        """Expected gain of quality over the span of latencies, summed over devices, (num_candidates,)."""
        means, stds = self.model.predict(candidates.params)
        gains = np.zeros(len(candidates))
        devices = zip(candidates.latencies_ms.T, self.fronts, self.spans_ms, self.cap_weights, strict=True)
        for own_ms, front, span_ms, cap_weight in devices:
            gains += expected_improvement(front, own_ms, means, stds) / span_ms
            if cap_weight:
                gains += cap_weight * put(front.shortfalls[-1], means, stds)
        return gains


def farthest(space: ParameterSpace, *, pool: Candidates, tried: Candidates) -> Mapping[str, Any]:
    """The candidate farthest from everything tried, in parameters and in rank of latency, mean over devices."""
    if not len(tried):
        return pool.params[0]
    apart = distances(inputs(space, pool.params), inputs(space, tried.params))
    for own_ms, tried_ms in zip(pool.latencies_ms.T, tried.latencies_ms.T, strict=True):
        ladder = np.sort(own_ms)
        ranks, tried_ranks = (np.searchsorted(ladder, ms) / len(ladder) for ms in (own_ms, tried_ms))
        apart += np.abs(ranks[:, None] - tried_ranks) / pool.latencies_ms.shape[1]
    return pool.params[int(np.argmax(np.min(apart, axis=1)))]
