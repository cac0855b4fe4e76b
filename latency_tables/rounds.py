"""Work that is timed in rounds, each sample between two runs of a reference; rounds can differ in what takes part."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from latency_tables.clock import Clock, Work
from latency_tables.ratio import RatioEstimate, estimate_ratio, sandwiched
from latency_tables.samples import Interleaved, Samples

_NUM_WARM_UPS = 2
_MIN_REFERENCE_S = 0.001
# Calling one small part too often in a row would time it with its weights in the innermost cache.
MAX_CALLS = 16


class Rounds:
    """Reference, a, reference, b, reference, ...: in an order drawn anew in every round.

    Short work is called several times per sample, `max_calls` at most, so that every sample is about as long as one of
    the reference.
    """

    def __init__(self, reference: Work, *, clock: Clock, seed: int = 0, max_calls: int = MAX_CALLS) -> None:
        self._reference, self._clock, self._max_calls = reference, clock, max_calls
        self._order = random.Random(seed)  # noqa: S311 - an order of measurements, no secret
        reference_s = _warm_seconds(reference, clock)
        self._reference_calls = self._clamped(_MIN_REFERENCE_S / reference_s)
        self._sample_s = reference_s * self._reference_calls
        self._work: dict[str, tuple[Work, int]] = {}
        self._seconds: dict[str, list[float]] = {}
        self._ratios: dict[str, list[float]] = {}
        self._references: list[float] = []
        self._is_interrupted = True

    def add(self, workloads: Mapping[str, Work]) -> None:
        """Warms work up; it can take part from now on."""
        for name, work in workloads.items():
            self._work[name] = (work, self._clamped(self._sample_s / _warm_seconds(work, self._clock)))
            self._seconds[name], self._ratios[name] = [], []
        self._is_interrupted = True

    def run(self, names: Iterable[str]) -> None:
        """Takes one sample of each."""
        if self._is_interrupted:
            self._references.append(self._reference_seconds())
            self._is_interrupted = False
        drawn = list(names)
        for name in self._order.sample(drawn, len(drawn)):
            work, calls = self._work[name]
            seconds = self._clock.seconds(work, calls) / calls
            self._references.append(self._reference_seconds())
            self._seconds[name].append(seconds)
            self._ratios[name].append(sandwiched(seconds, self._references[-2], self._references[-1]))

    def pause(self) -> None:
        """Says that other things happen now, so that the reference has to run anew before the next sample."""
        self._is_interrupted = True

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that was added, in that order."""
        return tuple(self._work)

    def num_samples(self, name: str) -> int:
        """How often it was timed."""
        return len(self._ratios[name])

    def estimate(self, name: str) -> RatioEstimate:
        """The ratio of one workload as far as it is known; it needs one sample."""
        return estimate_ratio(self._ratios[name])

    def result(self) -> Interleaved:
        """All samples so far."""
        samples = {
            name: Samples(seconds=tuple(self._seconds[name]), ratios=tuple(self._ratios[name])) for name in self._work
        }
        return Interleaved(workloads=samples, reference_seconds=tuple(self._references))

    def _reference_seconds(self) -> float:
        return self._clock.seconds(self._reference, self._reference_calls) / self._reference_calls

    def _clamped(self, calls: float) -> int:
        return max(1, min(self._max_calls, round(calls)))


def _warm_seconds(work: Work, clock: Clock) -> float:
    clock.seconds(work, _NUM_WARM_UPS)
    return max(clock.seconds(work, 1), 1e-9)
