"""What a prediction says: of one model, and of many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyEstimate:
    """Predicted milliseconds for one batch, with an interval that covers about nine in ten models."""

    mean_ms: float
    low_ms: float
    high_ms: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_ms <= self.mean_ms <= self.high_ms:
            raise ValueError(f"An estimate needs 0 <= low_ms <= mean_ms <= high_ms, but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyEstimates:
    """The same for P models: each of shape (P,)."""

    mean_ms: Floats
    low_ms: Floats
    high_ms: Floats

    def __post_init__(self) -> None:
        bounds = np.stack((np.zeros_like(self.mean_ms), self.low_ms, self.mean_ms, self.high_ms))
        if not (np.diff(bounds, axis=0) >= 0.0).all():
            raise ValueError("Estimates need 0 <= low_ms <= mean_ms <= high_ms.")

    def __len__(self) -> int:
        return len(self.mean_ms)

    def __getitem__(self, number: int) -> LatencyEstimate:
        return LatencyEstimate(
            mean_ms=float(self.mean_ms[number]),
            low_ms=float(self.low_ms[number]),
            high_ms=float(self.high_ms[number]),
        )
