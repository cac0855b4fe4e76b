"""One trial on a Ray worker: one Tune step is one epoch."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Trainable

from search.driver import Failure, ReportKey
from search.epoch_log import EpochLog
from search.ray_border import TrialTask
from spvit.errors import DataError, StorageError
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics

ERROR_FILE = "error.txt"


class Trainee(Protocol):
    """What is trained, epoch by epoch, with checkpoints of its own."""

    @property
    def epoch(self) -> int:
        """Finished epochs; more than 0 at once if it found a checkpoint."""

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is finished."""

    def run_epoch(self) -> EpochMetrics:
        """Trains, evaluates and checkpoints one epoch."""


TrialFactory = Callable[[TrialConfig, Path], Trainee]
"""Builds a trial that keeps its checkpoints in a folder, and goes on from what it finds there."""


def fine_tune_trial(config: TrialConfig, directory: Path) -> Trainee:
    """The real thing."""
    from trainers.fine_tune import FineTuner

    return FineTuner(config, directory)


class SearchTrainable(Trainable):
    """Runs one trial after the other in one process, which saves the seconds that importing torch takes.

    Whatever the trial raises is reported as a result, so that only the death of the process is an error to Tune,
    which then starts the trial again elsewhere; it goes on from its own checkpoints.
    """

    def setup(self, config: dict[str, Any], factory: TrialFactory = fine_tune_trial) -> None:
        """Called by Tune once per process."""
        self._factory = factory
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune to run another trial in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Called by Tune until the driver says stop: the next epoch's report."""
        try:
            return self._next_report()
        except Exception as error:  # whatever a configuration can cause is a result, not an accident
            return self._failure(error)

    def cleanup(self) -> None:
        """Called by Tune before the process ends."""
        self._trainee = None

    def _begin(self, config: dict[str, Any]) -> None:
        self._task = TrialTask.from_ray(config)
        self._log = EpochLog(self._task.directory)
        self._trainee: Trainee | None = None
        self._unreported: list[dict[str, Any]] = []

    def _next_report(self) -> dict[str, Any]:
        if self._trainee is None:
            self._trainee = self._build()
            self._unreported = self._log.between(self._task.num_known_epochs, self._trainee.epoch)
        if self._unreported:
            return self._unreported.pop(0)
        report = self._trainee.run_epoch().to_dict()
        self._log.append(report)
        return report

    def _build(self) -> Trainee:
        self._task.directory.mkdir(parents=True, exist_ok=True)
        trainee = self._factory(self._task.config, self._task.directory)
        if not trainee.is_done:
            return trainee
        self._task = _reporting_from(self._task, trainee.epoch - 1)
        if self._log.between(trainee.epoch - 1, trainee.epoch):
            return trainee
        # The process died between its last checkpoint and the report of it, of which nothing is left: once more.
        shutil.rmtree(self._task.directory)
        self._task.directory.mkdir(parents=True)
        return self._factory(self._task.config, self._task.directory)

    def _failure(self, error: Exception) -> dict[str, Any]:
        is_shared = isinstance(error, StorageError | DataError | OSError)
        failure = Failure.INFRASTRUCTURE if is_shared else Failure.CONFIGURATION
        lines = str(error).splitlines()
        self._keep_traceback(error)
        return {
            ReportKey.FAILURE: failure.value,
            ReportKey.REASON: f"{type(error).__name__}: {lines[0] if lines else 'no text'}",
        }

    def _keep_traceback(self, error: Exception) -> None:
        try:
            (self._task.directory / ERROR_FILE).write_text("".join(traceback.format_exception(error)))
        except OSError:  # the disk may be what failed; the driver is told anyway
            return


def _reporting_from(task: TrialTask, num_known_epochs: int) -> TrialTask:
    return TrialTask(
        number=task.number,
        config=task.config,
        directory=task.directory,
        num_known_epochs=min(task.num_known_epochs, num_known_epochs),
    )
