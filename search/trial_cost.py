"""What a trial costs on this machine, measured in a process of its own as a worker would run it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING

from spvit.errors import ClusterError
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from trainers.step_cost import TrainingCost

TIME_LIMIT_S = 30.0
"""Of all timing together."""


def measure_trials(
    configs: Sequence[TrialConfig], *, num_threads: int, num_workers: int = 1
) -> tuple[TrainingCost, ...]:
    """Times a few steps of each trial, one after the other.

    Args:
        configs: the trials.
        num_threads: CPU threads that a worker has.
        num_workers: workers of a trial; the share of one of them is timed, without what they tell each other.

    Raises:
        ClusterError: the process was ended, as happens where memory is short.
        ConfigError, DataError, DivergedError: the trial cannot be trained.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(num_threads)  # read by torch when the new process imports it
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
            shares = [_share(config, num_workers).to_dict() for config in configs]
            costs = pool.submit(_measured, shares).result()
            return tuple(_of_workers(cost, num_workers) for cost in costs)
    except BrokenProcessPool:
        raise ClusterError(
            "the process that timed a trial was ended from outside, as happens where memory is short: a trial needs "
            "more than this machine has free. Lower training.batch_size or set training.micro_batch_size"
        ) from None
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _share(config: TrialConfig, num_workers: int) -> TrialConfig:
    training = config.training
    images, part = training.batch_size // num_workers, training.micro_batch_size
    changes = {"batch_size": images, "micro_batch_size": None if part is None else min(part, images)}
    return config.model_copy(update={"training": training.model_copy(update=changes)})


def _of_workers(cost: TrainingCost, num_workers: int) -> TrainingCost:
    """With so many times fewer images a step one worker alone would take as many times more of them."""
    steps = max(1, cost.steps_per_epoch // num_workers)
    return replace(
        cost,
        steps_per_epoch=steps,
        evaluation_s=cost.evaluation_s / num_workers,
        pricing_s=cost.pricing_s / num_workers,
    )


def _measured(trials: Sequence[Mapping[str, object]]) -> tuple[TrainingCost, ...]:
    from trainers.step_cost import measure_training

    limit_s = TIME_LIMIT_S / max(1, len(trials))
    return tuple(measure_training(TrialConfig.model_validate(values), time_limit_s=limit_s) for values in trials)
