"""Lets the driver decide, at every report, whether Ray Tune goes on with a trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.driver import Decision, SearchDriver
from search.failures import Failure, failure_of_death
from search.ray_border import PAYLOAD, OfTheDriver, TrialTask
from search.signals import end_tune

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

DIED = "its worker process died (it was killed, ran out of memory, or its node went away)"
WHY_DIED = {
    Failure.OUT_OF_MEMORY: "its worker process was ended since its node ran low on memory",
    Failure.NODE_LOST: "the node of its worker process went away",
    Failure.PREEMPTED: "the node of its worker process was taken back",
}


class DriverScheduler(OfTheDriver, FIFOScheduler):  # type: ignore[misc]  # Ray has no types
    """A thin adapter. Unlike a Tune searcher, a scheduler also sees the report after which a trial is stopped."""

    _supports_buffered_results = False

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()
        self._driver = driver
        self._killed: dict[int, str] = {}

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Called with every report of a trial. One that is not of the study is stopped."""
        del tune_controller
        number = self._number(trial)
        decision = Decision.STOP if number is None else self._driver.on_result(number, result)
        return str(TrialScheduler.STOP if decision is Decision.STOP else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Called when a trial's worker died."""
        del tune_controller
        if (number := self._number(trial)) is None:
            return
        if number in self._killed:
            self._driver.on_error(number, self._killed.pop(number))
            return
        failure = failure_of_death(_last_words(trial))
        self._driver.on_error(number, WHY_DIED.get(failure, DIED), failure)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Called in every step of Tune's loop, so it is here that stuck trials and requests to stop are looked for."""
        live = [trial for trial in tune_controller.get_live_trials() if trial.status == trial.RUNNING]
        if self._driver.is_stopping:
            self._end_all(live)
        else:
            self._end_stuck(live)
        return super().choose_trial_to_run(tune_controller)

    def _end_all(self, live: list[Trial]) -> None:
        """Tune would wait 5 s for workers that are within an epoch, which is lost in any case."""
        for trial in live:
            _kill(trial)
        self._driver.interrupt()
        end_tune()

    def _end_stuck(self, live: list[Trial]) -> None:
        running = {number: trial for trial in live if (number := self._number(trial)) is not None}
        for number in running:
            self._driver.on_running(number)
        for stuck in self._driver.stuck():
            if stuck.number in running and stuck.number not in self._killed:
                self._killed[stuck.number] = stuck.reason
                _kill(running[stuck.number])

    def debug_string(self) -> str:
        """A name for Tune's logs."""
        return "decided by the driver"

    def _number(self, trial: Trial) -> int | None:
        """The trial's number in the study; None if it has none."""
        if PAYLOAD not in trial.config:
            return None
        number = TrialTask.from_ray(trial.config).number
        return number if self._driver.knows(number) else None


def _kill(trial: Trial) -> None:
    """Ends a trial's worker without asking it, for it may not answer. Tune then takes it for one that died."""
    if (actor := trial.temporary_state.ray_actor) is not None:
        ray.kill(actor)


def _last_words(trial: Trial) -> str:
    """What Ray said of a worker's death, which Tune keeps in a file as text and as a pickle; the text is enough."""
    if trial.storage is None or not trial.error_file:
        return ""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
