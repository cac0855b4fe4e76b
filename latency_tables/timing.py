"""Work timed side by side for a number of rounds, and complete models compared so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from latency_tables.clock import Clock, Work, clock_for
from latency_tables.elapsed import ElapsedRecorder, ElapsedTime
from latency_tables.quiet import steady_process
from latency_tables.ratio import RatioEstimate, estimate_ratio
from latency_tables.rounds import MAX_CALLS, Rounds
from latency_tables.samples import Interleaved, Samples, reference_samples

__all__ = ["MIN_ROUNDS", "Comparison", "Interleaved", "Samples", "compare_models", "interleave"]

MIN_ROUNDS = 3
"""Rounds that are run even when the time is up: fewer samples have no interval worth the name."""

T = TypeVar("T")

RoundDone = Callable[[float], None]


def interleave(
    workloads: Mapping[str, Work],
    reference: Work,
    *,
    clock: Clock,
    num_rounds: int,
    time_limit_s: float = float("inf"),
    seed: int = 0,
    max_calls: int = MAX_CALLS,
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
    rounds = Rounds(reference, clock=clock, seed=seed, max_calls=max_calls)
    rounds.add(workloads)
    for round_number in range(num_rounds):
        spent = time.perf_counter() - started
        if round_number >= MIN_ROUNDS and spent > time_limit_s:
            break
        rounds.run(workloads)
        on_round(min(1.0, max((round_number + 1) / num_rounds, spent / time_limit_s)))
    return rounds.result()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One model's time for a batch, and as a multiple of the dense model's: 0.8 means a fifth less time.

    `p50_ms` and `p95_ms` are by the clock of the comparison, which for one thread does not see what other programs
    take; `elapsed` is what passed on the wall.
    """

    p50_ms: float
    p95_ms: float
    ratio: RatioEstimate
    elapsed: ElapsedTime

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
    """Times complete models side by side, each sample one call, as a ratio to the dense model just before and after.

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
    clock = ElapsedRecorder(clock_for(device, num_threads))
    with steady_process(num_threads, cores):
        timed = interleave(
            others,
            work[dense],
            clock=clock,
            num_rounds=num_rounds,
            time_limit_s=time_limit_s,
            seed=seed,
            max_calls=1,
            on_round=on_round,
        )
    samples = {dense: reference_samples(timed.reference_seconds)} | dict(timed.workloads)
    return {name: _comparison(samples[name], clock.of(work[name], len(samples[name].seconds))) for name in models}


def _comparison(samples: Samples, elapsed: ElapsedTime) -> Comparison:
    p50, p95 = np.quantile(samples.seconds, [0.5, 0.95])
    ratio = estimate_ratio(samples.ratios)
    return Comparison(p50_ms=float(p50) * 1000.0, p95_ms=float(p95) * 1000.0, ratio=ratio, elapsed=elapsed)
