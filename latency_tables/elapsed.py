"""Time as a user feels it, beside whatever clock times a comparison: what other programs take of a core counts."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from latency_tables.clock import Clock, Work
from latency_tables.ratio import estimate_ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class ElapsedTime:
    """Wall time of one batch in milliseconds: its median with a 90 % interval, and its 95th percentile."""

    p50_ms: float
    low_ms: float
    high_ms: float
    p95_ms: float

    @classmethod
    def from_seconds(cls, seconds: list[float]) -> ElapsedTime:
        """Of single calls.

        Raises:
            ValueError: there are none.
        """
        median = estimate_ratio([1000.0 * value for value in seconds])
        return cls(
            p50_ms=median.median,
            low_ms=median.low,
            high_ms=median.high,
            p95_ms=1000.0 * float(np.quantile(seconds, 0.95)),
        )

    def divided(self, count: int) -> ElapsedTime:
        """The time of one of so many alike calls."""
        return ElapsedTime(
            p50_ms=self.p50_ms / count,
            low_ms=self.low_ms / count,
            high_ms=self.high_ms / count,
            p95_ms=self.p95_ms / count,
        )


class ElapsedRecorder:
    """Another clock that also keeps the wall time of each call, by what was called."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: defaultdict[int, list[float]] = defaultdict(list)

    def seconds(self, work: Work, num_calls: int) -> float:
        """What the clock says."""
        start = time.perf_counter()
        seconds = self._clock.seconds(work, num_calls)
        self._seconds[id(work)].append((time.perf_counter() - start) / num_calls)
        return seconds

    def of(self, work: Work, num_last: int) -> ElapsedTime:
        """Wall time of the last so many samples of this work; those before them warmed it up."""
        return ElapsedTime.from_seconds(self._seconds[id(work)][-num_last:])
