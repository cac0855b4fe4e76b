"""Makes a study that is kept in a database known in a folder of studies on this host."""

from __future__ import annotations

from pathlib import Path

from search.storage import load, shown_url, storage_errors
from search.study_files import StudyFile, write_study_file
from spvit.errors import StorageError, UsageError


def attach_study(folder: Path, url: str) -> Path:
    """Leaves a pointer to a study in the folder that is to be its own here; every command then finds it by name.

    Raises:
        UsageError: the database has no such study.
        StorageError: it cannot be read, or the folder cannot be written.
    """
    with storage_errors(folder):
        is_there = _has(folder.name, url)
    if not is_there:
        raise UsageError(f"no study {folder.name!r} in {shown_url(url)}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror}; give another --runs-dir") from None
    write_study_file(folder, StudyFile(name=folder.name, storage=url))
    return folder


def _has(name: str, url: str) -> bool:
    """Whether a database, or the file of one, holds a study of this name."""
    try:
        load(name, url)
    except (KeyError, FileNotFoundError):
        return False
    return True
