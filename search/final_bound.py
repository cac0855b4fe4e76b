"""How high a learning curve may still end, judged by curves that were seen to their end. Pure: numpy, and t's quantile.

What finished curves gained from an epoch to their end is regressed (ridge) on what could be told at that epoch:

* the level: bad starts gain more;
* the last step, and the level against its mean of late: a rise goes on, a spike falls back;
* the noise from epoch to epoch, as its log: a curve that jumps has a high learning rate, which is still to decay;
* the latency: slow networks end higher.

The bound is the prediction of a new curve plus Student's quantile of its error, which is estimated from the residuals.
It widens by itself where a curve is noisy (its end is then less certain), unlike the finished ones (leverage), or where
these are few (degrees of freedom).
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
    typical = _typical_noise(finished[:, :-1])
    everyone = np.vstack([finished[:, :-1], curve])
    features = _features(everyone, np.append(latencies, latency), NOISE_FLOOR * typical)
    gains = finished[:, -1] - finished[:, -2]
    return float(curve[-1]) + _upper_prediction(features, _weights(everyone, typical), gains, confidence)


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


def _weights(curves: FloatArray, typical_noise: float) -> FloatArray:
    """What each curve's end is worth as evidence, shape (curves,): the noisier a curve, the less certain its end."""
    if curves.shape[1] < 2:
        return np.ones(len(curves))
    relative = _noise(curves) / typical_noise
    return np.asarray(2 / (1 + relative**2), dtype=np.float64)


def _upper_prediction(features: FloatArray, weights: FloatArray, gains: FloatArray, confidence: float) -> float:
    """Weighted ridge regression of gains on standardised features, with the one-sided interval of a new prediction.

    Features and weights have one more row than gains: that of the curve whose gain is predicted.
    """
    mean_weight = weights[:-1].mean()
    *_, own_weight = weights = weights / mean_weight
    weights = weights[:-1]
    centre = np.average(features[:-1], axis=0, weights=weights)
    spread = np.sqrt(np.average((features[:-1] - centre) ** 2, axis=0, weights=weights))
    spread = np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, np.inf)  # what never varies tells nothing
    *_, new = standard = (features - centre) / spread
    known, mean_gain = standard[:-1], float(np.average(gains, weights=weights))
    weighted = known.T * weights
    inverse = np.linalg.inv(weighted @ known + RIDGE * np.eye(known.shape[1]))
    slopes = inverse @ weighted @ (gains - mean_gain)
    residuals = gains - mean_gain - known @ slopes
    freedom = max(len(gains) - 1 - float(np.trace(inverse @ weighted @ known)), 1.0)
    unit = float(weights @ residuals**2) / freedom
    variance = unit * (1 / own_weight + 1 / len(gains) + float(new @ inverse @ new))
    return mean_gain + float(new @ slopes) + float(stdtrit(freedom, confidence)) * math.sqrt(variance)
