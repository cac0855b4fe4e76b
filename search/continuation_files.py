"""Gives a trial that prolongs another one that one's last checkpoint to go on from, wherever checkpoints are."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.checkpoint_store import CheckpointStore
from search.records import TrialRecord
from search.retries import root_of
from search.study_files import trial_directory
from spvit.errors import StorageError

CHECKPOINT = "checkpoint-{:06d}"
PART = ".writing-"


def seed_trial_folder(study_directory: Path, trial: TrialRecord) -> None:
    """Copies the checkpoint, unless the trial prolongs none or has begun already. It is verified where it is read.

    The copy is made beside its place and renamed, so that a driver that dies here leaves nothing half.

    Raises:
        StorageError: the folder cannot be written.
    """
    if trial.continues is None:
        return
    name = CHECKPOINT.format(trial.continues_epochs)
    folder = trial_directory(study_directory, trial)
    source = folder.with_name(str(trial.continues)) / name
    if not source.is_dir() or any(folder.glob("checkpoint-*")):
        return
    part = folder / f"{PART}{name}"
    try:
        shutil.rmtree(part, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, part)
        part.rename(folder / name)
    except OSError as error:
        raise StorageError(
            f"{folder}: the checkpoint of trial {trial.continues} cannot be copied: {error.strerror or error}; free "
            f"space, then resume"
        ) from error


def seed_published_trial(url: str, study_directory: Path, trial: TrialRecord) -> None:
    """As `seed_trial_folder`, within a study's place in the storage (`CheckpointStore`).

    What the study's folder has of a trial, from before checkpoints were published, is published first.

    Raises:
        StorageError: the storage refuses.
    """
    store, own, start = CheckpointStore(url), root_of(trial), trial.config.get("start")
    needed = [own, trial.continues, None if start is None else Path(start["path"]).parts[-3]]
    for name in (str(number) for number in needed if number is not None):
        kept = study_directory / "trials" / name
        if kept.is_dir() and not store.has(name):  # most trials have nothing here, and need no request
            store.publish(name, kept)
    if trial.continues is not None:
        store.seed(str(own), source=str(trial.continues), step=trial.continues_epochs)
