"""Opens a study's Optuna storage, and turns what a storage raises into errors for the user."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from search.local_disk import is_local
from search.outcomes import DIRECTIONS
from search.study_storage import MemoryStorage, StudyStorage, WriteAhead
from spvit.errors import StorageError
from spvit.wording import first_line, install_hint

BUSY_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 20


def create_or_load(name: str, url: str) -> tuple[optuna.Study, StudyStorage]:
    """The study of this name in a storage, and the storage; a new one if there is none. To be written.

    The study's sampler and pruner are never used.
    """
    _quieten()
    storage = _open(url, may_create=True)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=list(DIRECTIONS),
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    return study, storage


def create_in_memory(name: str) -> tuple[optuna.Study, MemoryStorage]:
    """A study that ends with this process, and what it is kept in."""
    _quieten()
    storage = MemoryStorage()
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=list(DIRECTIONS),
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
    )
    return study, storage


def load(name: str, url: str) -> optuna.Study:
    """The study of this name in a storage, to read."""
    _quieten()
    sampler, pruner = optuna.samplers.RandomSampler(), optuna.pruners.NopPruner()
    return optuna.load_study(study_name=name, storage=_open(url, may_create=False), sampler=sampler, pruner=pruner)


def open_to_read(url: str) -> StudyStorage:
    """A storage that exists, to read."""
    _quieten()
    return _open(url, may_create=False)


@contextmanager
def storage_errors(directory: Path) -> Iterator[None]:
    """Turns what a storage raises (full, read-only, corrupt, out of reach) into a `StorageError` with a remedy."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
        raise StorageError(
            f"the study in {directory} cannot be read or written: {_cause(error)}. What finished before is kept: "
            f"{_remedy(error)}, then `spvit-search resume {directory.name}`"
        ) from error


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """As `storage_errors`, for reading what this or another version wrote."""
    try:
        with storage_errors(directory):
            yield
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise StorageError(
            f"the study in {directory} is damaged or was written by another version of this program: "
            f"{type(error).__name__}: {error}"
        ) from error


def _remedy(error: BaseException) -> str:
    """A server's errors are psycopg's, at the root of those of SQLAlchemy and Optuna."""
    inner: BaseException | None = error
    while inner is not None:
        if type(inner).__module__.startswith("psycopg"):
            return "check that the server can be reached, and the password (PGPASSWORD or ~/.pgpass)"
        inner = getattr(inner, "orig", None) or inner.__cause__
    return "free space, make the folder writable or restore study.db"


def _cause(error: BaseException) -> str:
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return first_line(getattr(inner, "orig", None) or inner)


def _open(url: str, *, may_create: bool) -> StudyStorage:
    options = _engine_options(url, may_create=may_create)
    try:
        return StudyStorage(_with_driver(url), engine_kwargs=options, skip_table_creation=not may_create)
    except ImportError as error:
        raise StorageError(
            f"a study at {shown_url(url)} needs a driver for that database, which is not installed: "
            f"{install_hint('postgresql')}"
        ) from error


def shown_url(url: str) -> str:
    """A storage's URL for people: a password, should it hold one, is left out."""
    return make_url(url).render_as_string(hide_password=True)


def _with_driver(url: str) -> str:
    """The URL with the driver of our own extra where it names none."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def _engine_options(url: str, *, may_create: bool) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": _sqlite_options(url, may_create=may_create)}
    # A connection that a restarted server or a router dropped is opened anew, not found broken by a write.
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}}


def _sqlite_options(url: str, *, may_create: bool) -> dict[str, Any]:
    """Only the driver chooses how the file is written; readers go along."""
    options: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S}
    file = make_url(url).database
    if not file:
        return options
    if not may_create and not Path(file).exists():  # SQLite would make an empty one
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
    if may_create and is_local(Path(file)):
        options["factory"] = WriteAhead
    return options


def _quieten() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
