"""What a worker trains, and who builds it. No Ray, no torch: workers import them when they need them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics


class Trainee(Protocol):
    """What is trained, epoch by epoch, with checkpoints of its own."""

    @property
    def epoch(self) -> int:
        """Finished epochs; more than 0 at once if it found a checkpoint."""

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is finished."""

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """Metrics of every finished epoch, those before a restart included."""

    def run_epoch(self) -> EpochMetrics:
        """Trains, evaluates and checkpoints one epoch."""


CACHE = "shared"
"""Beside the trials' folders: what they have in common."""

TrialFactory = Callable[[TrialConfig, Path], Trainee]
"""Builds a trial that keeps its checkpoints in a folder, and goes on from what it finds there.

Where several workers train a trial it is called in each of them, in the group of `WorkerGroup.current()`; only the
first may write.
"""


def fine_tune_trial(config: TrialConfig, directory: Path) -> Trainee:
    """The real thing."""
    from trainers.elastic import ElasticTuner
    from trainers.fine_tune import FineTuner
    from trainers.workers import WorkerGroup

    tuner = FineTuner if config.elastic is None else ElasticTuner
    return tuner(config, directory, cache=directory.parent / CACHE, workers=WorkerGroup.current())
