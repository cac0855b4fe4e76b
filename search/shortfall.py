"""How quality becomes something a Gaussian process can model: the log of what it lacks to a ceiling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CEILING_SHARES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 10.0, 30.0)
"""How far above the best quality the ceiling may lie, in spreads; with the last the log is a straight line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortfallScale:
    """Quality q is modelled as z = (log(ceiling - q) - centre) / spread: lower is better, divergences come close.

    Attributes:
        ceiling: above every quality seen.
        centre: mean of the log shortfalls.
        spread: their standard deviation.
    """

    ceiling: float
    centre: float
    spread: float

    @classmethod
    def of(cls, qualities: Array) -> ShortfallScale:
        """The scale on which these qualities are the least skewed.

        Args:
            qualities: (num_points,), finite; higher is better.
        """
        best = float(np.max(qualities))
        extent = best - float(np.quantile(qualities, 0.1)) or best - float(np.min(qualities)) or 1.0
        ceiling = min(
            (best + share * extent for share in CEILING_SHARES), key=lambda c: _skewness(np.log(c - qualities))
        )
        logs = np.log(ceiling - qualities)
        return cls(ceiling=ceiling, centre=float(np.mean(logs)), spread=float(np.std(logs)) or 1.0)

    def standardised(self, qualities: Array) -> Array:
        """Modelled values of qualities; those at or above the ceiling count as just below it."""
        floor = 1e-3 * np.exp(self.centre)
        logs: Array = np.log(np.maximum(self.ceiling - qualities, floor))
        return (logs - self.centre) / self.spread

    def log_shortfalls(self, standardised: Array) -> Array:
        """Logs of the shortfalls that modelled values mean."""
        return self.centre + self.spread * standardised


def _skewness(values: Array) -> float:
    deviation = values - np.mean(values)
    variance = float(np.mean(deviation**2))
    return abs(float(np.mean(deviation**3))) / variance**1.5 if variance > 0 else 0.0
