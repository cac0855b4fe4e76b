"""What a timing in rounds leaves behind: samples of every workload, and of the reference between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from latency_tables.ratio import RatioEstimate, estimate_ratio, sandwiched


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds per call of one workload and of the reference around it, and their ratios; all of one length."""

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Interleaved:
    """All samples of a timing: by workload, and of the reference."""

    workloads: Mapping[str, Samples]
    reference_seconds: tuple[float, ...]

    def ratio(self, name: str) -> RatioEstimate:
        """The workload's time as a multiple of the reference's."""
        return estimate_ratio(self.workloads[name].ratios)

    @property
    def reference_ms(self) -> float:
        """The reference's median time."""
        return float(np.median(self.reference_seconds)) * 1000.0

    @cached_property
    def self_ratio(self) -> float:
        """The reference's time as a multiple of its own neighbours': below 1, since times are skewed.

        The mean of two times lies above their median where a few are long: 0.976 for a DeiT-S block beside other
        programs. So does every ratio of work that is about as long as the reference.
        """
        ratios = reference_samples(self.reference_seconds).ratios
        return float(np.median(ratios)) if ratios else 1.0


def reference_samples(seconds: tuple[float, ...]) -> Samples:
    """The reference's own runs, each but the first and last as a ratio to the two around it."""
    neighbours = zip(seconds, seconds[1:], seconds[2:], strict=False)
    ratios = tuple(sandwiched(middle, before, after) for before, middle, after in neighbours)
    return Samples(seconds=seconds[1:-1], ratios=ratios)
