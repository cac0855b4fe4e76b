"""What a trial costs on this machine, measured in a process of its own as a worker would run it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from spvit.errors import ClusterError
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from trainers.step_cost import TrainingCost

TIME_LIMIT_S = 30.0
"""Of all timing together."""


def measure_trials(configs: Sequence[TrialConfig], *, num_threads: int) -> tuple[TrainingCost, ...]:
    """Times a few steps of each trial, one after the other.

    Args:
        configs: the trials.
        num_threads: CPU threads that a worker has.

    Raises:
        ClusterError: the process was ended, as happens where memory is short.
        ConfigError, DataError, DivergedError: the trial cannot be trained.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(num_threads)  # read by torch when the new process imports it
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_measured, [config.to_dict() for config in configs]).result()
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


def _measured(trials: Sequence[Mapping[str, object]]) -> tuple[TrainingCost, ...]:
    from trainers.step_cost import measure_training

    limit_s = TIME_LIMIT_S / max(1, len(trials))
    return tuple(measure_training(TrialConfig.model_validate(values), time_limit_s=limit_s) for values in trials)
