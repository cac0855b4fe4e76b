"""Where things are in a study's folder, and the small file that says where its storage is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from search.records import TrialRecord
from search.retries import root_of
from spvit.errors import StorageError

STUDY_FILE = "study.json"
DATABASE_FILE = "study.db"
PROGRESSIVE_FOLDER, OUTCOMES_FILE = "progressive", "outcomes.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFile:
    """A study's name in its storage; `storage` is None for SQLite in the study's own folder, which may be moved."""

    name: str
    storage: str | None


def sqlite_url(directory: Path) -> str:
    """The storage in a study's own folder."""
    return f"sqlite:///{directory.resolve() / DATABASE_FILE}"


def trial_directory(study_directory: Path, trial: TrialRecord) -> Path:
    """Where a trial's checkpoints are. A retry goes on in the folder of the trial that it repeats."""
    return study_directory / "trials" / str(root_of(trial))


def write_study_file(directory: Path, file: StudyFile) -> None:
    """Writes it in one step, readable by its owner only: a storage URL may hold a password.

    Raises:
        StorageError: the folder cannot be written.
    """
    path, temporary = directory / STUDY_FILE, directory / f"{STUDY_FILE}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(asdict(file), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; free space or change study.directory") from None


def read_study_file(directory: Path) -> StudyFile:
    """Reads what `write_study_file` wrote.

    Raises:
        StorageError: it is damaged.
    """
    path = directory / STUDY_FILE
    try:
        values = json.loads(path.read_text())
        return StudyFile(name=values["name"], storage=values["storage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f'{path}: damaged ({type(error).__name__}); it should hold {{"name": ..., "storage": null}}, '
            f"null meaning {DATABASE_FILE} in the same folder"
        ) from None
