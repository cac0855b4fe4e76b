"""One measured duration and its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A median in milliseconds with its 90 % bootstrap interval.

    The interval is that of the ratio to the reference run beside each sample; the reference's own spread is common to
    a whole table and kept there once.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    num_samples: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(ms) and ms > 0.0 for ms in (self.low_ms, self.median_ms, self.high_ms)):
            raise ValueError(f"A measurement needs finite times above 0 ms, but got {self}.")
        if not self.low_ms <= self.median_ms <= self.high_ms:
            raise ValueError(
                f"A measurement needs low_ms <= median_ms <= high_ms, but got {self.low_ms:g}, {self.median_ms:g} and "
                f"{self.high_ms:g}."
            )
        if self.num_samples < 1:
            raise ValueError(f"A measurement needs at least one sample, but got {self}.")
