"""Lets Ray Tune ask the driver for trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search.searcher import Searcher

from search.attempts import claim_folder
from search.continuation_files import seed_published_trial, seed_trial_folder
from search.driver import Idle, SearchDriver
from search.elastic_start import NO_START, start_within
from search.given_start import GivenStart
from search.ray_border import OfTheDriver, TrialTask
from search.records import TrialRecord
from search.signals import end_tune
from search.study_files import trial_directory
from spvit.errors import SpvitError
from trainers.config import TrialConfig


class DriverSearcher(OfTheDriver, Searcher):  # type: ignore[misc]  # Ray has no types
    """A thin adapter; the driver bounds concurrency and number of trials itself.

    `directory` is where workers keep a study's trials, the study's folder if absent; `url` is where they publish
    checkpoints, if they do; `start` is what the experiment has trials go on from.
    """

    def __init__(
        self,
        driver: SearchDriver,
        directory: Path | None = None,
        url: str | None = None,
        start: GivenStart = NO_START,
    ) -> None:
        super().__init__()
        self._driver = driver
        self._directory = directory or driver.directory
        self._url = url
        self._start = start
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial's task; None to be asked again, `FINISHED` at the end."""
        trial = self._driver.suggest()
        if trial is Idle.WAIT:
            return None
        if isinstance(trial, Idle):
            if self._driver.is_stopping:
                end_tune()  # else it would wait for the running trials' next reports, and epochs can take hours
            return Searcher.FINISHED
        if not self._is_prepared(trial):
            return Searcher.FINISHED
        self._numbers[trial_id] = trial.number
        task = TrialTask(
            number=trial.number,
            config=start_within(self._driver.directory, TrialConfig.model_validate(trial.config), self._start),
            directory=trial_directory(self._directory, trial),
            num_known_epochs=trial.num_epochs,
        )
        return task.to_ray()

    def _is_prepared(self, trial: TrialRecord) -> bool:
        """Makes the trial's folder ready; a search whose folder cannot be written ends, in words for its user."""
        try:
            seed_trial_folder(self._driver.directory, trial)
            if self._url is not None:
                seed_published_trial(self._url, self._driver.directory, trial)
            claim_folder(trial_directory(self._driver.directory, trial), trial.number)
        except SpvitError as error:
            self._driver.error = self._driver.error or error
            return False
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called when a trial ended, after the scheduler saw its last report or its error. Others are not ours."""
        del result, error
        number = self._numbers.pop(trial_id, None)
        if number is not None:
            self._driver.on_complete(number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study holds everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study holds everything."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the study holds everything."""
