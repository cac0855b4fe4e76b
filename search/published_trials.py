"""Trials whose checkpoints go to storage that every machine can reach, before anybody hears of the epoch."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from search.checkpoint_store import CheckpointStore
from search.config import ExperimentConfig
from search.experiment import validate
from search.records import StudyRecord
from search.trial_factory import Trainee, TrialFactory
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics

IN_USE = "in-use.lock"


def study_url(experiment: ExperimentConfig) -> str | None:
    """Where a study's checkpoints are published; None if they stay in its folder."""
    study = experiment.study
    return None if study.checkpoints is None else f"{study.checkpoints.rstrip('/')}/{study.name}/trials"


def scratch_directory(experiment: ExperimentConfig) -> Path | None:
    """The folder on each machine that stands for the study's own; None if its own is used.

    Two studies of one name may be published to different places.
    """
    url = study_url(experiment)
    if url is None:
        return None
    return experiment.study.scratch / f"{experiment.study.name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def published(experiment: ExperimentConfig, factory: TrialFactory) -> TrialFactory:
    """The factory, of trials that publish their checkpoints where the experiment says so.

    Raises:
        StorageError, ConfigError: they cannot be published there.
    """
    url = study_url(experiment)
    if url is None:
        return factory
    CheckpointStore(url).check()
    return PublishedTrials(url=url, factory=factory)


def bring_checkpoint(study: StudyRecord, directory: Path) -> None:
    """As `bring_published`, by the experiment that a study was made from."""
    bring_published(validate(dict(study.experiment), source=f"study {study.name}"), directory)


def bring_published(experiment: ExperimentConfig, directory: Path) -> None:
    """Copies a trial's newest published checkpoint into its folder, for whoever reads the trial; nothing if none is.

    What was kept there before checkpoints were published stays.

    Raises:
        StorageError: the storage refuses.
    """
    url = study_url(experiment)
    if url is not None:
        store = CheckpointStore(url)
        if store.has(directory.name):
            store.fetch(directory.name, directory)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTrials:
    """A factory of trials that train in a folder of their machine and are continued on any other.

    `url` is the study's place in the storage (`CheckpointStore`), `factory` builds the trials themselves.
    """

    url: str
    factory: TrialFactory

    def __call__(self, config: TrialConfig, directory: Path) -> Trainee:
        """The trial, with the newest checkpoint that was published. Folders that nobody uses any more are removed.

        Weights of another trial that it starts from are fetched as well: their path in `config` is that of the study's
        folder, `trials/NUMBER/checkpoint-N/FILE`, which this machine need not see.

        Raises:
            StorageError: the storage refuses.
            CheckpointError: the weights that it starts from are not the published ones.
        """
        lock = _locked(directory)
        _remove_unused(directory.parent)
        store = CheckpointStore(self.url)
        store.fetch(directory.name, directory)
        with _start_here(config, store, directory.parent) as own:
            return PublishedTrial(self.factory(own, directory), store, directory, lock)


class PublishedTrial:
    """A trial, each of whose checkpoints is published before its epoch is reported. Holds its folder's lock."""

    def __init__(self, trial: Trainee, store: CheckpointStore, directory: Path, lock: IO[bytes]) -> None:
        self._trial, self._store, self._directory, self._lock = trial, store, directory, lock

    @property
    def epoch(self) -> int:
        """See `Trainee`."""
        return self._trial.epoch

    @property
    def is_done(self) -> bool:
        """See `Trainee`."""
        return self._trial.is_done

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """See `Trainee`."""
        return self._trial.history

    def run_epoch(self) -> EpochMetrics:
        """See `Trainee`.

        Raises:
            StorageError: the checkpoint could not be published.
        """
        metrics = self._trial.run_epoch()
        if _is_main():
            self._store.publish(self._directory.name, self._directory)
        return metrics


@contextmanager
def _start_here(config: TrialConfig, store: CheckpointStore, trials: Path) -> Iterator[TrialConfig]:
    """The configuration with the weights that it starts from in a folder of this machine, which stays meanwhile."""
    if config.start is None:
        yield config
        return
    checkpoint, name = config.start.path.parent, config.start.path.name
    folder = trials / checkpoint.parent.name
    with _locked(folder):
        store.fetch(folder.name, folder)
        start = config.start.model_copy(update={"path": folder / checkpoint.name / name})
        yield config.model_copy(update={"start": start})


def _is_main() -> bool:
    """Of the processes that train a trial together one publishes."""
    from trainers.workers import WorkerGroup

    return WorkerGroup.current().is_main


def _locked(directory: Path) -> IO[bytes]:
    """The lock of a trial's folder, shared with its other processes; dropped when the file object goes."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)  # weights are nobody else's on this machine
        lock = (directory / IN_USE).open("ab")
        fcntl.flock(lock, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):  # else it was removed between the two, for nobody used it
            if (directory / IN_USE).stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        lock.close()


def _remove_unused(trials: Path) -> None:
    """Trials that ended or moved away: what counts of them is in the storage."""
    for folder in trials.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(BlockingIOError, FileNotFoundError), (folder / IN_USE).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
