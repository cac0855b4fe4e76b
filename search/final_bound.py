"""How high a learning curve may still end, judged by curves that were seen to their end. Pure: numpy, and t's quantile.

What finished curves gained from an epoch to their end is regressed (ridge) on what could be told at that epoch:

* the level: bad starts gain more;
* the last step, and the level against its mean of late: a rise goes on, a spike falls back;
* the noise from epoch to epoch, as its log: a curve that jumps has a high learning rate, which is still to decay;
* the latency: slow networks end higher.

The bound is the prediction of a new curve plus Student's quantile of its error, which is estimated from the residuals.
It widens by itself where a curve is unlike the finished ones (leverage) and where these are few (degrees of freedom).
Qualities may be in any unit: nothing depends on their origin or scale.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

FloatArray = NDArray[np.float64]

MIN_CURVES = 5
"""Finished curves without which nothing is bounded."""
RIDGE = 1.0
"""Pulls slopes of standardised features to 0, as one more curve at the mean gain would."""
RECENT = 4
"""Steps whose mean the level is compared with."""
NOISE_FLOOR = 0.05
"""Of the finished curves' median noise, added before the logarithm: curves may be still."""


def final_bound(
    curve: FloatArray,
    latency: float,
    finished: FloatArray,
    latencies: FloatArray,
    *,
    confidence: float,
) -> float:
    """The upper bound of a curve's last value, infinite where too few finished curves are known.

    Args:
        curve: qualities after its first steps, shape (steps,), at least one.
        latency: its latency, in any unit.
        finished: qualities of finished curves at the same steps and, last, at their end, shape (curves, steps + 1).
        latencies: theirs, in the same unit, shape (curves,).
        confidence: of the bound, one-sided, in (0, 1).

    Raises:
        ValueError: the shapes do not fit each other.
    """
    num_steps = len(curve)
    if num_steps < 1 or finished.shape != (len(latencies), num_steps + 1):
        raise ValueError(
            f"finished curves must have shape ({len(latencies)}, {num_steps + 1}): as many rows as latencies, and the "
            f"end after the steps of the curve; but they have {finished.shape}"
        )
    if len(finished) < MIN_CURVES:
        return math.inf
    floor = NOISE_FLOOR * _typical_noise(finished[:, :-1])
    seen = _features(finished[:, :-1], latencies, floor)
    gains = finished[:, -1] - finished[:, -2]
    own = _features(curve[None, :], np.array([latency]), floor)[0]
    return float(curve[-1]) + _upper_prediction(seen, gains, own, confidence)


def _features(curves: FloatArray, latencies: FloatArray, noise_floor: float) -> FloatArray:
    """What is known of each curve, shape (curves, features): as much as its length allows."""
    columns = [curves[:, -1], latencies]
    if curves.shape[1] >= 2:
        columns += [curves[:, -1] - curves[:, -2], np.log(noise_floor + _noise(curves))]
    if curves.shape[1] >= 3:
        columns.append(curves[:, -1] - curves[:, -RECENT:].mean(axis=1))
    return np.stack(columns, axis=1)


def _noise(curves: FloatArray) -> FloatArray:
    """The mean change from one step to the next, shape (curves,)."""
    changes: FloatArray = np.abs(np.diff(curves, axis=1))
    return np.asarray(changes.mean(axis=1), dtype=np.float64)


def _typical_noise(curves: FloatArray) -> float:
    """The median over curves; any positive number where none of them moves."""
    if curves.shape[1] < 2:
        return 1.0
    return float(np.median(_noise(curves))) or float(_noise(curves).max()) or 1.0


def _upper_prediction(features: FloatArray, gains: FloatArray, own: FloatArray, confidence: float) -> float:
    """Ridge regression of gains on standardised features, with the one-sided interval of one new prediction."""
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, np.inf)  # what never varies tells nothing
    known, new = (features - centre) / spread, (own - centre) / spread
    inverse = np.linalg.inv(known.T @ known + RIDGE * np.eye(known.shape[1]))
    slopes = inverse @ known.T @ (gains - gains.mean())
    residuals = gains - gains.mean() - known @ slopes
    freedom = max(len(gains) - 1 - float(np.trace(inverse @ known.T @ known)), 1.0)
    variance = float(residuals @ residuals) / freedom * (1 + 1 / len(gains) + float(new @ inverse @ new))
    return float(gains.mean() + new @ slopes) + float(stdtrit(freedom, confidence)) * math.sqrt(variance)
