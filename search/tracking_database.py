"""Makes MLflow's SQLite file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "sqlite:///"


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
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        MlflowClient(tracking_uri=f"{PREFIX}{new}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another study made it meanwhile, and may have written to it
            os.link(new, path)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI; None for other databases and servers."""
    name = uri.removeprefix(PREFIX)
    return None if name == uri or not name or name.startswith(":") or "?" in name else Path(name)
