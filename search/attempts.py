"""Which attempt at a trial its folder belongs to: a worker of an earlier one, paused or cut off, ends."""

from __future__ import annotations

from pathlib import Path

from spvit.errors import StorageError, StudyLockedError

FILE = "attempt"


def claim_folder(directory: Path, number: int) -> None:
    """Makes a trial's folder that of an attempt, before its worker is told of it.

    Args:
        directory: the trial's, which all its attempts share.
        number: the attempt's number in the study; later attempts have higher ones.

    Raises:
        StorageError: the folder cannot be written.
    """
    path = directory / FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(str(number), encoding="ascii")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{directory}: a trial's folder cannot be written: {error.strerror or error}") from error


def check_claim(directory: Path, number: int) -> None:
    """Refuses to go on in a folder that a later attempt has got.

    Raises:
        StudyLockedError: it has.
    """
    try:
        owner = int((directory / FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):  # nobody claimed it
        return
    if owner > number:
        raise StudyLockedError(f"trial {number} was given to a later attempt, trial {owner}; this one ends")
