"""Follows a search in MLflow without ever holding it up: hooks write to a spool, a process writes to MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search import study_updates
from search.listener import StudyListener
from search.records import StudyRecord, TrialRecord
from search.report_files import FOLDER
from search.run_update import RunUpdate, merge_by_run
from search.search_progress import SearchProgress
from search.secrets import redacted, without_password
from search.spool import Spool
from search.study_report import study_note, write_study_files
from search.table_files import given_files
from search.tracking_link import LOG_FILE, TrackingLink
from search.tracking_message import Message
from search.tracking_place import (
    SPOOL_FILE,
    default_tracking_uri,
    is_server,
    open_writer,
)
from search.tracking_view import where_to_look

__all__ = ["MlflowTracker", "default_tracking_uri", "sync"]

LOGGER = logging.getLogger(__name__)
OnRunId = Callable[[int | None, str], None]


class MlflowTracker(StudyListener):
    """Records a study in MLflow: a parent run for the search and a child run for each trial.

    What is not yet in MLflow waits in `tracking.jsonl` in the study's folder, and is written when MLflow can be
    reached again, at the latest by the next tracker of the same study.

    Args:
        directory: the study's folder.
        uri: MLflow tracking URI; `default_tracking_uri` of the folder above if absent.
        on_run_id: told the run of each trial (None: of the search) once it is known; called within a hook or `close`,
            on the caller's thread.
        on_address: told at the start and at the end, in words, where the study can be looked at.
        close_timeout_s: how long `close` waits for what is still to be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        uri: str | None = None,
        on_run_id: OnRunId | None = None,
        on_address: Callable[[str], None] = lambda _: None,
        close_timeout_s: float = 60.0,
    ) -> None:
        self._directory = directory
        self._uri = uri or default_tracking_uri(directory.parent)
        self._on_run_id, self._on_address = on_run_id, on_address
        self._close_timeout_s = close_timeout_s
        self._spool = Spool(directory / SPOOL_FILE)
        self._link = TrackingLink(directory, self._uri, linger_s=close_timeout_s)
        self._study: StudyRecord | None = None
        self._progress: SearchProgress | None = None
        self._note_experiment: Callable[[str], None] | None = None
        self._announced_experiment: str | None = None
        self._announced: dict[int | None, str] = {}
        self._has_failed = False
        self.experiment_id: str | None = None

    @property
    def writer_pid(self) -> int | None:
        """The id of the process that writes to MLflow, while there is one."""
        return self._link.pid

    def on_open(self, note_run: OnRunId, note_experiment: Callable[[str], None]) -> None:
        """The study itself keeps the ids; those of runs not where somebody else was named to."""
        self._on_run_id = self._on_run_id or note_run
        self._note_experiment = note_experiment

    def on_study_start(self, study: StudyRecord) -> None:
        """The search begins or goes on."""
        self._study, self._progress = study, SearchProgress.of(study)
        self._announced = {t.number: t.mlflow_run_id for t in study.trials if t.mlflow_run_id}
        if study.mlflow_run_id:
            self._announced[None] = study.mlflow_run_id
        self._announced_experiment = study.mlflow_experiment_id
        now_ms = _now_ms()
        self._append(study_updates.search_started(study, artifacts=given_files(study), now_ms=now_ms))
        for trial in study.trials:
            if trial.state.is_finished:
                self._append_past(trial, study, now_ms)
        if not is_server(self._uri):
            self._say_address()

    def on_trial_start(self, trial: TrialRecord) -> None:
        """A trial's run begins."""
        if self._study is not None:
            self._append(study_updates.trial_started(trial, self._study, now_ms=_now_ms()))

    def on_epoch(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """An epoch's metrics, with its number as step."""
        self._append(study_updates.epoch_finished(trial, metrics, now_ms=_now_ms()))

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A trial's run ends; if it was trained in full the search's progress goes on by one."""
        now_ms = _now_ms()
        self._append(study_updates.trial_ended(trial, now_ms=now_ms))
        if self._progress is not None and trial.is_model:
            self._progress.add(trial)
            self._append(study_updates.search_progress(self._progress, now_ms=now_ms))

    def on_study_end(self, study: StudyRecord) -> None:
        """The front as table, picture and page, the experiment and a note go to the parent run."""
        self._append(_ended(study, self._directory, now_ms=_now_ms()))

    def close(self) -> None:
        """Wait, for a bounded time, until everything is in MLflow; what is not stays in the spool."""
        if self._study is None:
            return
        self._attend()
        self._hear(self._link.close(self._close_timeout_s))
        self._say_address()
        if not self._spool.is_drained:
            LOGGER.warning(
                "MLflow at %s has not got everything yet; the rest is kept in %s and written when the study is next "
                "resumed",
                without_password(self._uri),
                self._directory / SPOOL_FILE,
            )

    def _append_past(self, trial: TrialRecord, study: StudyRecord, now_ms: int) -> None:
        """A driver that dies ends trials unseen, and a study may have begun without a tracker; twice does no harm."""
        if trial.mlflow_run_id is None:
            self._append(study_updates.trial_started(trial, study, now_ms=now_ms))
        self._append(study_updates.trial_ended(trial, now_ms=now_ms))

    def _append(self, update: RunUpdate) -> None:
        try:
            self._spool.append(update.to_dict())
        except OSError as error:
            self._note_failure(f"an event could not be written to {self._directory / SPOOL_FILE}: {error}")
        if self._study is not None:
            self._attend()

    def _attend(self) -> None:
        """Hear what the process has to say, and see that there is one."""
        self._hear(self._link.messages())
        try:
            exit_code = self._link.keep_alive()
        except OSError as error:
            self._note_failure(f"the process that writes to MLflow cannot be started: {error}")
            return
        if exit_code is not None:
            self._note_failure(
                f"the process that writes to MLflow ended with code {exit_code} ({self._directory / LOG_FILE} may say "
                f"why) and was started again"
            )

    def _hear(self, messages: list[Message]) -> None:
        for message in messages:
            if message.experiment_id is not None:
                self._announce_experiment(message.experiment_id)
            self._announce_runs(message.run_ids)
            if message.warning:
                LOGGER.warning("%s", redacted(message.warning))
            if message.failure:
                self._note_failure(
                    f"MLflow at {without_password(self._uri)} cannot be written: {redacted(message.failure)}"
                )

    def _announce_experiment(self, experiment_id: str) -> None:
        is_news = self.experiment_id is None
        self.experiment_id = experiment_id
        if is_news and is_server(self._uri):
            self._say_address()
        if self._note_experiment is not None and experiment_id != self._announced_experiment:
            self._note_experiment(experiment_id)
        self._announced_experiment = experiment_id

    def _announce_runs(self, run_ids: Mapping[int | None, str]) -> None:
        for number, run_id in run_ids.items():
            if self._on_run_id is not None and self._announced.get(number) != run_id:
                self._on_run_id(number, run_id)
            self._announced[number] = run_id

    def _say_address(self) -> None:
        try:
            self._on_address(where_to_look(self._directory, self._uri, self.experiment_id))
        except Exception:
            LOGGER.debug("the address could not be shown", exc_info=True)

    def _note_failure(self, text: str) -> None:
        if not self._has_failed:
            LOGGER.warning("%s; the search goes on, and what is missing is written later", text)
        self._has_failed = True


def sync(study: StudyRecord, *, uri: str | None = None) -> dict[int | None, str]:
    """Bring MLflow up to what a study's record knows; nothing that is there is written twice.

    Returns:
        The run of each trial, and of the search under None.

    Raises:
        Exception: whatever MLflow raises if it cannot be reached.
    """
    directory = Path(study.directory)
    writer = open_writer(directory, uri=uri)
    for update in merge_by_run(study_updates.replay(study)):
        writer.apply(update, skip_existing_points=True)
    if study.trials and all(trial.state.is_finished for trial in study.trials):
        last_ms = round(1000 * max((t.finished_at or 0.0) for t in study.trials))
        writer.apply(_ended(study, directory, now_ms=last_ms))
    return dict(writer.run_ids)


def _ended(study: StudyRecord, directory: Path, *, now_ms: int) -> RunUpdate:
    files = [str(path.resolve()) for path in write_study_files(study, directory / FOLDER)]
    return study_updates.search_ended(
        study, note=study_note(study), artifacts=[*given_files(study), *files], now_ms=now_ms
    )


def _now_ms() -> int:
    return round(time.time() * 1000)
