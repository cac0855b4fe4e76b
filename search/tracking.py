"""Follows a search in MLflow without ever holding it up: hooks write to a spool, a thread writes to MLflow."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search import study_updates
from search.listener import StudyListener
from search.records import StudyRecord, TrialRecord, TrialState
from search.report_files import FOLDER
from search.run_update import RunUpdate, merge_by_run
from search.spool import Spool
from search.study_report import study_note, write_study_files
from search.tracking_writer import MlflowWriter

LOGGER = logging.getLogger(__name__)
OnRunId = Callable[[int | None, str], None]
MAX_DELAY_S = 60.0
SPOOL_FILE = "tracking.jsonl"


def default_tracking_uri(runs_directory: Path) -> str:
    """Where studies are tracked unless the experiment says otherwise: one SQLite file beside all studies."""
    return f"sqlite:///{runs_directory.resolve() / 'mlflow.db'}"


def experiment_fragment(experiment_id: str) -> str:
    """The part of the MLflow page's address that shows one experiment's runs as a machine-learning table."""
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"


class MlflowTracker(StudyListener):
    """Records a study in MLflow: a parent run for the search and a child run for each trial.

    What is not yet in MLflow waits in `tracking.jsonl` in the study's folder, and is written when MLflow can be
    reached again, at the latest by the next tracker of the same study.

    Args:
        directory: the study's folder.
        uri: MLflow tracking URI; `default_tracking_uri` of the folder above if absent.
        on_run_id: told the run of each trial (None: of the search) once it is known; called within a hook or `close`,
            on the caller's thread.
        close_timeout_s: how long `close` waits for what is still to be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        uri: str | None = None,
        on_run_id: OnRunId | None = None,
        close_timeout_s: float = 30.0,
    ) -> None:
        self._directory = directory
        self._uri = uri or default_tracking_uri(directory.parent)
        self._on_run_id = on_run_id
        self._close_timeout_s = close_timeout_s
        self._spool = Spool(directory / SPOOL_FILE)
        self._study: StudyRecord | None = None
        self._note_experiment: Callable[[str], None] | None = None
        self._announced_experiment: str | None = None
        self._announced: dict[int | None, str] = {}
        self._writer: MlflowWriter | None = None
        self._has_failed = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-tracker", daemon=True)

    @property
    def experiment_id(self) -> str | None:
        """The study's experiment in MLflow, once it is known."""
        return None if self._writer is None else self._writer.experiment_id

    def on_open(self, note_run: OnRunId, note_experiment: Callable[[str], None]) -> None:
        """The study itself keeps the ids; those of runs not where somebody else was named to."""
        self._on_run_id = self._on_run_id or note_run
        self._note_experiment = note_experiment

    def on_study_start(self, study: StudyRecord) -> None:
        """The search begins or goes on."""
        self._study = study
        self._announced = {t.number: t.mlflow_run_id for t in study.trials if t.mlflow_run_id}
        if study.mlflow_run_id:
            self._announced[None] = study.mlflow_run_id
        self._announced_experiment = study.mlflow_experiment_id
        now_ms = _now_ms()
        self._append(study_updates.search_started(study, now_ms=now_ms))
        for trial in study.trials:
            if trial.state.is_finished:
                self._append_past(trial, study, now_ms)
        if not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()

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
        if self._study is not None and trial.state is TrialState.COMPLETE:
            self._study = _with_trial(self._study, trial)
            self._append(study_updates.search_progress(self._study, now_ms=now_ms))

    def on_study_end(self, study: StudyRecord) -> None:
        """The front as table, picture and page, the experiment and a note go to the parent run."""
        self._append(_ended(study, self._directory, now_ms=_now_ms()))

    def close(self) -> None:
        """Wait, for a bounded time, until everything is in MLflow; what is not stays in the spool."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._close_timeout_s)
        self._announce()
        if not self._spool.is_drained:
            LOGGER.warning(
                "MLflow at %s has not got everything yet; the rest is kept in %s and written when the study is next "
                "resumed",
                self._uri,
                self._directory / "tracking.jsonl",
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
            self._note_failure(f"an event could not be written to {self._directory / 'tracking.jsonl'}: {error}")
        self._wake.set()
        self._announce()

    def _announce(self) -> None:
        self._announce_experiment()
        self._announce_runs()

    def _announce_experiment(self) -> None:
        known = self.experiment_id
        if known is None or self._note_experiment is None or known == self._announced_experiment:
            return
        self._note_experiment(known)
        self._announced_experiment = known

    def _announce_runs(self) -> None:
        known = {} if self._writer is None else dict(self._writer.run_ids)
        for number, run_id in known.items():
            if self._on_run_id is not None and self._announced.get(number) != run_id:
                self._on_run_id(number, run_id)
            self._announced[number] = run_id

    def _work(self) -> None:
        delay_s = 1.0
        while True:
            self._wake.wait()
            self._wake.clear()
            is_last = self._closing.is_set()
            try:
                self._write_pending()
                delay_s = 1.0
            except Exception as error:  # MLflow's failures are of every kind, and none may end the search
                self._note_failure(f"MLflow at {self._uri} cannot be written: {_first_line(error)}")
                self._wake.set()
                self._closing.wait(delay_s)
                delay_s = min(2 * delay_s, MAX_DELAY_S)
            if is_last:
                return

    def _write_pending(self) -> None:
        if self._writer is None:
            self._writer = open_writer(self._directory, uri=self._uri)
        while not self._spool.is_drained:
            events, offset = self._spool.read()
            for update in merge_by_run(RunUpdate.from_dict(event) for event in events):
                self._writer.apply(update)
            self._spool.acknowledge(offset)

    def _note_failure(self, text: str) -> None:
        if not self._has_failed:
            LOGGER.warning("%s; the search goes on, and what is missing is written later", text)
        self._has_failed = True


def open_writer(directory: Path, *, uri: str | None = None) -> MlflowWriter:
    """A writer for the study in a folder.

    Raises:
        Exception: whatever MLflow raises if it cannot be reached.
    """
    return MlflowWriter(
        uri or default_tracking_uri(directory.parent),
        study_name=directory.resolve().name,
        study_id=_study_id(directory),
        artifact_directory=directory.parent / "mlartifacts" / directory.resolve().name,
    )


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
    files = write_study_files(study, directory / FOLDER)
    return study_updates.search_ended(
        study, note=study_note(study), artifacts=[str(path.resolve()) for path in files], now_ms=now_ms
    )


def _study_id(directory: Path) -> str:
    """A study's identity in MLflow: a study made anew under an old name must not write into the old one's runs."""
    path = directory / "tracking.id"
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".id.new")
        temporary.write_text(uuid.uuid4().hex, encoding="ascii")
        temporary.replace(path)
    return path.read_text(encoding="ascii").strip()


def _with_trial(study: StudyRecord, trial: TrialRecord) -> StudyRecord:
    others = [known for known in study.trials if known.number != trial.number]
    return replace(study, trials=tuple(sorted([*others, trial], key=lambda t: t.number)))


def _now_ms() -> int:
    return round(time.time() * 1000)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
