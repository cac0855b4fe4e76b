"""Makes MLflow's SQLite file whole or not at all."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "sqlite:///"
ARTIFACTS_FOLDER = "mlartifacts"
"""Beside the file, a folder in it for each study."""


def make_database(uri: str) -> None:
    """Creates the database of a tracking URI, if it is a SQLite file that does not exist yet.

    MLflow takes seconds to create its tables. A process killed meanwhile would leave a file with some of them, which
    MLflow refuses from then on; so they are made in a file of their own that gets its name when it is complete.

    Raises:
        Exception: whatever MLflow or the file system raises.
    """
    path = sqlite_path(uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name(f".{path.name}.lock")):
        if not path.exists():  # else another study made it meanwhile
            _make(path)


def _make(path: Path) -> None:
    from mlflow import MlflowClient

    new = path.with_name(f".{path.name}.new")
    for left_behind in (new, new.with_name(f"{new.name}-journal")):
        left_behind.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"{PREFIX}{new}").search_experiments(max_results=1)
    new.rename(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock that the operating system drops when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI; None for other databases and servers."""
    name = uri.removeprefix(PREFIX)
    return None if name == uri or not name or name.startswith(":") or "?" in name else Path(name)
