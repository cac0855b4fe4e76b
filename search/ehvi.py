"""Expected hypervolume improvement where latency is known and only quality is uncertain: exact, no sampling.

With F(t) the best quality so far at a latency of at most t, a configuration of latency l and quality q adds the area

    integral over t from l to the reference latency of max(0, q - F(t)).

F is a staircase, so the expectation is a sum over its steps of expected improvements. Quality is a ceiling minus a
log-normal shortfall, which makes every summand the price of a Black-Scholes put on that shortfall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Staircase:
    """The smallest shortfall so far, as a function of latency.

    Attributes:
        starts_ms: (num_steps,); where each step begins, rising; the first is minus infinity.
        ends_ms: (num_steps,); where each step ends; the last is the reference latency.
        shortfalls: (num_steps,); falling; the first is the reference's.
    """

    starts_ms: Array
    ends_ms: Array
    shortfalls: Array


def staircase(latencies_ms: Array, shortfalls: Array, *, reference_ms: float, reference_shortfall: float) -> Staircase:
    """The front of points, cut at the reference point.

    Args:
        latencies_ms: (num_points,).
        shortfalls: (num_points,); ceiling minus quality, positive.
        reference_ms: slower points count nothing.
        reference_shortfall: worse points count nothing.
    """
    order = np.lexsort((shortfalls, latencies_ms))
    latencies_ms, shortfalls = latencies_ms[order], shortfalls[order]
    before = np.minimum.accumulate(np.concatenate([[reference_shortfall], shortfalls]))[:-1]
    rises = (shortfalls < before) & (latencies_ms < reference_ms)
    bounds_ms = np.concatenate([[-np.inf], latencies_ms[rises], [reference_ms]])
    steps = np.concatenate([[reference_shortfall], shortfalls[rises]])
    return Staircase(starts_ms=bounds_ms[:-1], ends_ms=bounds_ms[1:], shortfalls=steps)


def expected_improvement(front: Staircase, latencies_ms: Array, log_means: Array, log_stds: Array) -> Array:
    """Expected gain of hypervolume of each candidate, in milliseconds times quality.

    Args:
        front: what is known so far.
        latencies_ms: (num_candidates,); known.
        log_means: (num_candidates,); mean of the log of the shortfall.
        log_stds: (num_candidates,); its standard deviation, positive.
    """
    begins = np.maximum(latencies_ms[:, None], front.starts_ms)
    widths_ms = np.maximum(front.ends_ms - begins, 0.0)
    gains: Array = np.sum(widths_ms * put(front.shortfalls, log_means[:, None], log_stds[:, None]), axis=1)
    return gains


def put(strikes: Array, log_means: Array, log_stds: Array) -> Array:
    """Expectation of max(0, strike - x) for log-normal x (Black and Scholes, 1973)."""
    depth = (np.log(strikes) - log_means) / log_stds
    forward = np.exp(log_means + log_stds**2 / 2.0)
    return np.maximum(strikes * ndtr(depth) - forward * ndtr(depth - log_stds), 0.0)
