"""One trial on a Ray worker: one Tune step is one epoch."""

from __future__ import annotations

import traceback
from typing import Any

from ray.tune import Trainable

from search.attempts import check_claim
from search.effective import FACTS, USAGE, as_text
from search.failures import ReportKey, failure_of
from search.ray_border import TrialTask
from search.trial_factory import Trainee, TrialFactory, fine_tune_trial
from search.trial_resources import TrialResources
from search.trial_team import TrialTeam
from search.worker_warnings import WarningCollector
from trainers.process_usage import UsageMeter

ERROR_FILE = "error.txt"
ONE_WORKER = TrialResources()


class SearchTrainable(Trainable):  # type: ignore[misc]  # Ray has no types
    """Runs one trial after the other in one process, which saves the seconds that importing torch takes.

    Where several workers train a trial this is the first of them, which alone reports and writes.

    Whatever the trial raises is reported as a result, so that only the death of the process is an error to Tune,
    which then starts the trial again elsewhere; it goes on from its own checkpoints.
    """

    def setup(
        self,
        config: dict[str, Any],
        factory: TrialFactory = fine_tune_trial,
        resources: TrialResources = ONE_WORKER,
    ) -> None:
        """Called by Tune once per process."""
        self._team = TrialTeam(factory, resources) if resources.workers > 1 else None
        self._factory = self._team or factory
        self._warnings = WarningCollector.installed()
        self._usage = UsageMeter()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune to run another trial in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Called by Tune until the driver says stop: the next epoch's report."""
        try:
            report = self._next_report()
        except Exception as error:  # whatever a configuration can cause is a result, not an accident
            report = self._failure(error)
        return report | {ReportKey.WARNINGS: self._warnings.take(), USAGE: as_text(self._usage.take())}

    def cleanup(self) -> None:
        """Called by Tune before the process ends."""
        del self._trainee
        if self._team is not None:
            self._team.end()

    def _begin(self, config: dict[str, Any]) -> None:
        self._task = TrialTask.from_ray(config)
        self._trainee: Trainee | None = None
        self._num_reported = self._task.num_known_epochs
        self._usage.take()  # what was used so far was another trial's

    def _next_report(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if self._trainee is None:
            self._trainee = self._build()
            facts = getattr(self._trainee, "facts", {})
        if self._num_reported < self._trainee.epoch:  # finished by an attempt that died before it could say so
            metrics = self._trainee.history[self._num_reported]
        else:
            check_claim(self._task.directory, self._task.number)
            metrics = self._trainee.run_epoch()
        self._num_reported = metrics.epoch
        return metrics.to_dict() | {FACTS: as_text(facts)}

    def _build(self) -> Trainee:
        self._task.directory.mkdir(parents=True, exist_ok=True)
        trainee = self._factory(self._task.config, self._task.directory)
        if trainee.is_done:  # the last epoch is reported again: nobody may have acted on it
            self._num_reported = min(self._num_reported, trainee.epoch - 1)
        return trainee

    def _failure(self, error: Exception) -> dict[str, Any]:
        lines = str(error).splitlines()
        self._keep_traceback(error)
        return {
            ReportKey.FAILURE: failure_of(error).value,
            ReportKey.REASON: f"{type(error).__name__}: {lines[0] if lines else 'no text'}",
        }

    def _keep_traceback(self, error: Exception) -> None:
        try:
            (self._task.directory / ERROR_FILE).write_text("".join(traceback.format_exception(error)))
        except OSError:  # the disk may be what failed; the driver is told anyway
            return
