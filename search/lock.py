"""One driver per study: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from search.driver_holder import age_of
from spvit.errors import StorageError, StudyLockedError

LOCK_FILE = "driver.lock"


@contextmanager
def study_lock(
    study_directory: Path, *, what: str | None = None, again: str | None = None, takeover: bool = False
) -> Iterator[None]:
    """Holds a folder's lock while the block runs.

    Args:
        study_directory: the study's folder, or one inside it for other work than its search.
        what: is being done, for the message; the study's search if absent.
        again: the command that goes on with it; `resume` if absent.
        takeover: go on without the lock where another process of this machine holds it.

    Raises:
        StudyLockedError: another driver holds it; says which.
        StorageError: the folder cannot be written.
    """
    descriptor = _open(study_directory)
    try:
        name = study_directory.name
        hint = "" if what else ", or take over from it with --takeover: what it still writes is then refused"
        if _acquire(descriptor):
            _write_holder(descriptor)
        elif not takeover:
            raise StudyLockedError(
                f"{what or f'study {name!r}'} is being run by {_holder(descriptor)}; wait for it, or stop it with "
                f"SIGTERM, after which `{again or f'spvit-search resume {name}'}` goes on{hint}"
            )
        yield
    finally:
        os.close(descriptor)  # which drops the lock; the file stays, so that nobody locks a file that is being removed


def is_locked(study_directory: Path) -> bool:
    """Whether a driver is running this study on this machine right now."""
    try:
        descriptor = os.open(study_directory / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(study_directory: Path) -> int:
    try:
        study_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(study_directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"{study_directory}: the study's folder cannot be written: {error.strerror}. "
            f"Free space or set study.directory to a folder that can be written"
        ) from None


def _acquire(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int) -> None:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started_at": started_at})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        since = holder["started_at"]
        return f"process {holder['pid']} on {holder['host']} since {since} ({age_of(since)})"
    except (ValueError, KeyError, TypeError):
        return "another process"
