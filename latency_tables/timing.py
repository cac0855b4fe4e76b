"""The one timing primitive: work that is timed in shuffled rounds, each sample between two runs of a reference."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from latency_tables.clock import Clock, Work, clock_for
from latency_tables.quiet import steady_process
from latency_tables.ratio import RatioEstimate, estimate_ratio, sandwiched

MIN_ROUNDS = 3
"""Rounds that are run even when the time is up: fewer samples have no interval worth the name."""

T = TypeVar("T")

_NUM_WARM_UPS = 2
_MIN_REFERENCE_S = 0.001
# Calling one small part too often in a row would time it with its weights in the innermost cache.
_MAX_CALLS = 16

RoundDone = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds per call of one workload and of the reference around it, and their ratios; all of one length."""

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True)
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


def interleave(
    workloads: Mapping[str, Work],
    reference: Work,
    *,
    clock: Clock,
    num_rounds: int,
    time_limit_s: float = float("inf"),
    seed: int = 0,
    max_calls: int = _MAX_CALLS,
    on_round: RoundDone = lambda _: None,
) -> Interleaved:
    """Times every workload once per round, in an order drawn anew: reference, a, reference, b, reference, ...

    Args:
        workloads: what to time, by name.
        reference: what each sample is taken as a ratio to; best of about the same length as the workloads.
        clock: what time is.
        num_rounds: samples per workload.
        time_limit_s: no new round begins after this much wall time, except the first `MIN_ROUNDS`.
        seed: of the order.
        max_calls: calls in a row that may make up one sample. Complete models should be called once: the second call of
            a model finds the caches as it left them itself, and the number of calls would hang on the noise.
        on_round: told the finished fraction after every round.
    """
    started = time.perf_counter()
    calls, reference_calls = _calls(workloads, reference, clock, max_calls)
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    ratios: dict[str, list[float]] = {name: [] for name in workloads}
    references = [clock.seconds(reference, reference_calls) / reference_calls]
    order, names = random.Random(seed), list(workloads)  # noqa: S311 - an order of measurements, no secret
    for round_number in range(num_rounds):
        spent = time.perf_counter() - started
        if round_number >= MIN_ROUNDS and spent > time_limit_s:
            break
        for name in order.sample(names, len(names)):
            seconds[name].append(clock.seconds(workloads[name], calls[name]) / calls[name])
            references.append(clock.seconds(reference, reference_calls) / reference_calls)
            ratios[name].append(sandwiched(seconds[name][-1], references[-2], references[-1]))
        on_round(min(1.0, max((round_number + 1) / num_rounds, spent / time_limit_s)))
    samples = {name: Samples(seconds=tuple(seconds[name]), ratios=tuple(ratios[name])) for name in names}
    return Interleaved(workloads=samples, reference_seconds=tuple(references))


def _calls(workloads: Mapping[str, Work], reference: Work, clock: Clock, max_calls: int) -> tuple[dict[str, int], int]:
    """Calls per sample that make every sample about as long as one of the reference, after warming all up."""
    reference_s = _warm_seconds(reference, clock)
    reference_calls = _clamped(_MIN_REFERENCE_S / reference_s, max_calls)
    sample_s = reference_s * reference_calls
    calls = {name: _clamped(sample_s / _warm_seconds(work, clock), max_calls) for name, work in workloads.items()}
    return calls, reference_calls


def _warm_seconds(work: Work, clock: Clock) -> float:
    clock.seconds(work, _NUM_WARM_UPS)
    return max(clock.seconds(work, 1), 1e-9)


def _clamped(calls: float, most: int) -> int:
    return max(1, min(most, round(calls)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One model's time for a batch, and as a multiple of the dense model's: 0.8 means a fifth less time."""

    p50_ms: float
    p95_ms: float
    ratio: RatioEstimate

    @property
    def speedup(self) -> float:
        """How many times faster than the dense model."""
        return 1.0 / self.ratio.median


def compare_models(
    models: Mapping[str, Callable[[T], object]],
    inputs: T,
    *,
    dense: str = "dense",
    num_rounds: int = 20,
    num_threads: int = 1,
    device: str = "cpu",
    cores: Set[int] | None = None,
    time_limit_s: float = 60.0,
    seed: int = 0,
    on_round: RoundDone = lambda _: None,
) -> dict[str, Comparison]:
    """Times complete models side by side, each sample as a ratio to the dense model run just before and after.

    The dense model is among the results too: its runs are compared with their neighbours among themselves, and how wide
    its interval is shows the noise. (Run as one more model, right behind itself, it looked 2 to 4 % faster than it is
    between others: every other model finds the caches as another one has left them.)

    Args:
        models: the models by name, the dense one among them; each is called with `inputs`.
        inputs: one batch of images.
        dense: name of the dense model.
        num_rounds: samples per model.
        num_threads: CPU threads to run with. One: CPU time is counted; more: wall time.
        device: the torch device the models are on.
        cores: pin to these cores meanwhile.
        time_limit_s: see `interleave`.
        seed: of the order.
        on_round: told the finished fraction after every round.

    Raises:
        ValueError: no model has the name `dense`.
    """
    if dense not in models:
        raise ValueError(f"One of the models must be called {dense!r}, but got {sorted(models)}.")
    work = {name: partial(model, inputs) for name, model in models.items()}
    others = {name: run for name, run in work.items() if name != dense} or work
    with steady_process(num_threads, cores):
        timed = interleave(
            others,
            work[dense],
            clock=clock_for(device, num_threads),
            num_rounds=num_rounds,
            time_limit_s=time_limit_s,
            seed=seed,
            on_round=on_round,
        )
    samples = {dense: _reference_samples(timed.reference_seconds)} | dict(timed.workloads)
    return {name: _comparison(samples[name]) for name in models}


def _reference_samples(seconds: tuple[float, ...]) -> Samples:
    """The reference's own runs, each but the first and last as a ratio to the two around it."""
    neighbours = zip(seconds, seconds[1:], seconds[2:], strict=False)
    ratios = tuple(sandwiched(middle, before, after) for before, middle, after in neighbours)
    return Samples(seconds=seconds[1:-1], ratios=ratios)


def _comparison(samples: Samples) -> Comparison:
    p50, p95 = np.quantile(samples.seconds, [0.5, 0.95])
    ratio = estimate_ratio(samples.ratios)
    return Comparison(p50_ms=float(p50) * 1000.0, p95_ms=float(p95) * 1000.0, ratio=ratio)
