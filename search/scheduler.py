"""Lets the driver decide, at every report, whether Ray Tune goes on with a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.driver import Decision, SearchDriver
from search.ray_border import PAYLOAD, OfTheDriver, TrialTask

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

DIED = "its worker process died (it was killed, ran out of memory, or its node went away)"


class DriverScheduler(OfTheDriver, FIFOScheduler):  # type: ignore[misc]  # Ray has no types
    """A thin adapter. Unlike a Tune searcher, a scheduler also sees the report after which a trial is stopped."""

    _supports_buffered_results = False

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Called with every report of a trial. One that is not of the study is stopped."""
        del tune_controller
        number = self._number(trial)
        decision = Decision.STOP if number is None else self._driver.on_result(number, result)
        return str(TrialScheduler.STOP if decision is Decision.STOP else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Called when a trial's worker died."""
        del tune_controller
        if (number := self._number(trial)) is not None:
            self._driver.on_error(number, DIED)

    def debug_string(self) -> str:
        """A name for Tune's logs."""
        return "decided by the driver"

    def _number(self, trial: Trial) -> int | None:
        """The trial's number in the study; None if it has none."""
        if PAYLOAD not in trial.config:
            return None
        number = TrialTask.from_ray(trial.config).number
        return number if self._driver.knows(number) else None
