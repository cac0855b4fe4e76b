"""Lets the driver decide, at every report, whether Ray Tune goes on with a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.driver import Decision, SearchDriver
from search.ray_border import OfTheDriver, TrialTask

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class DriverScheduler(OfTheDriver, FIFOScheduler):  # type: ignore[misc]  # Ray has no types
    """A thin adapter. Unlike a Tune searcher, a scheduler also sees the report after which a trial is stopped."""

    _supports_buffered_results = False

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Called with every report of a trial."""
        del tune_controller
        decision = self._driver.on_result(_number(trial), result)
        return str(TrialScheduler.STOP if decision is Decision.STOP else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Called when a trial's worker died more often than it is restarted."""
        del tune_controller
        self._driver.on_error(_number(trial), _why(trial))

    def debug_string(self) -> str:
        """A name for Tune's logs."""
        return "decided by the driver"


def _number(trial: Trial) -> int:
    return TrialTask.from_ray(trial.config).number


def _why(trial: Trial) -> str:
    """The last line of the error; Tune's own accessor still reads nothing when this hook runs."""
    error = getattr(trial, "run_metadata", None)
    text = str(getattr(error, "error_filename", "") or "its worker died again and again")
    return f"its worker died again and again (see {text})" if text.endswith(".txt") else text
