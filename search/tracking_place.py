"""Where a study is tracked in MLflow: its address, its identity there, and a writer for it."""

from __future__ import annotations

import uuid
from pathlib import Path

from search.tracking_database import ARTIFACTS_FOLDER
from search.tracking_writer import MlflowWriter

SPOOL_FILE = "tracking.jsonl"


def default_tracking_uri(runs_directory: Path) -> str:
    """Where studies are tracked unless the experiment says otherwise: one SQLite file beside all studies."""
    return f"sqlite:///{runs_directory.resolve() / 'mlflow.db'}"


def open_writer(directory: Path, *, uri: str | None = None) -> MlflowWriter:
    """A writer for the study in a folder.

    Raises:
        Exception: whatever MLflow raises if it cannot be reached.
    """
    return MlflowWriter(
        uri or default_tracking_uri(directory.parent),
        study_name=directory.resolve().name,
        study_id=study_id(directory),
        artifact_directory=directory.parent / ARTIFACTS_FOLDER / directory.resolve().name,
    )


def study_id(directory: Path) -> str:
    """A study's identity in MLflow: a study made anew under an old name must not write into the old one's runs."""
    path = directory / "tracking.id"
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".id.new")
        temporary.write_text(uuid.uuid4().hex, encoding="ascii")
        temporary.replace(path)
    return path.read_text(encoding="ascii").strip()


def is_server(uri: str) -> bool:
    """Whether MLflow is reached through a server, whose page can be opened in a browser."""
    return uri.startswith(("http://", "https://"))
