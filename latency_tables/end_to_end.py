"""Random complete models that a table is checked against, and the statistics of that check."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from latency_tables.table import EndToEndCheck
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry, TokenPlan

_MIN_KEEP_RATE = 0.1
_MAX_STAGES = 3
_NUM_DRAWS = 1000
LEAST_SHARE = 0.5
"""Of the errors that were seen, taken for true however noisy the models' times were.

The variance of few errors is known too badly to believe in less: without it 58 to 65 % of further models were covered
where noise was twice or three times the true error, with it 92 to 96 % (drawn from normal and Laplace errors of 14
models)."""


def random_schedules(
    geometry: TokenGeometry, package: PackageMode, *, num_schedules: int, seed: int = 0
) -> list[PruningSchedule]:
    """Schedules of one to three stages, each a network of its own; fewer than asked for on very small models."""
    draw = random.Random(seed)  # noqa: S311 - a choice of models to time, no secret
    schedules: dict[TokenPlan, PruningSchedule] = {}
    for _ in range(_NUM_DRAWS):
        if len(schedules) == num_schedules:
            break
        schedule = _random_schedule(geometry, draw)
        plan = schedule.plan(geometry, package)
        if plan.selections:
            schedules.setdefault(plan, schedule)
    return list(schedules.values())


@cache
def checked_plans(geometry: TokenGeometry, package: PackageMode, num_checked: int) -> tuple[TokenPlan, ...]:
    """What the models were that a table was checked with, as `profile` draws them."""
    schedules = random_schedules(geometry, package, num_schedules=num_checked)
    return tuple(schedule.plan(geometry, package) for schedule in schedules)


def _random_schedule(geometry: TokenGeometry, draw: random.Random) -> PruningSchedule:
    blocks = list(range(1, geometry.depth)) or [0]
    chosen = sorted(draw.sample(blocks, draw.randint(1, min(_MAX_STAGES, len(blocks)))))
    rates = sorted((draw.uniform(_MIN_KEEP_RATE, 1.0) for _ in chosen), reverse=True)
    return PruningSchedule.from_keep_rates(rates, chosen)


def check_predictions(
    predicted_ms: Sequence[float], measured_ms: Sequence[float], *, noise_percent: Sequence[float] = (0.0,)
) -> EndToEndCheck:
    """Fits one scale, and states the relative error of every model under the scale that the others have.

    What the models' times may be off by themselves is no error of the table. It is taken out of the errors' squares, on
    average, so that a table of a restless machine or of large batches is not said to be worse than it is.

    Args:
        predicted_ms: sums of parts, not scaled.
        measured_ms: latencies of the same complete models.
        noise_percent: standard deviations of the measured latencies, one for each.

    Raises:
        ValueError: fewer than two models, so that none would be left to check.
    """
    if len(predicted_ms) != len(measured_ms) or len(predicted_ms) < 2:
        raise ValueError(f"At least two models are needed, but got {len(predicted_ms)} and {len(measured_ms)} times.")
    ratios = np.asarray(measured_ms, dtype=np.float64) / np.asarray(predicted_ms, dtype=np.float64)
    scales = np.array([np.median(np.delete(ratios, number)) for number in range(len(ratios))])
    errors = 100.0 * np.abs(scales / ratios - 1.0)
    errors *= _share_of_table(errors, np.asarray(noise_percent, dtype=np.float64))
    median, p90, largest = (float(bound) for bound in np.quantile(errors, [0.5, 0.9, 1.0]))
    return EndToEndCheck(
        scale=float(np.median(ratios)),
        num_fitted=len(ratios),
        num_checked=len(ratios),
        median_error_percent=median,
        p90_error_percent=p90,
        max_error_percent=largest,
    )


def _share_of_table(errors: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """How much of the errors is the table's own rather than the noise of measuring complete models."""
    seen, added = float(np.mean(errors**2)), float(np.mean(noise**2))
    if not added:
        return 1.0
    return max(LEAST_SHARE, float(np.sqrt(max(0.0, 1.0 - added / seen)))) if seen else LEAST_SHARE
