"""What the trainings of a progressive insertion gave, kept in one small file, so that none is made twice. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spvit.errors import StorageError
from trainers.config import TrialConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One training's result: top-1 in percent, None if it diverged; `finished_at` in seconds since 1970."""

    top1: float | None
    finished_at: float


class Outcomes:
    """Outcomes by the configuration that was trained. Thresholds and budgets may change: they change no training."""

    def __init__(self, path: Path) -> None:
        """Reads the file if it exists.

        Raises:
            StorageError: it is damaged.
        """
        self._path = path
        self._known = _read(path) if path.exists() else {}

    @property
    def last_finished_at(self) -> float:
        """When the last training ended."""
        return max((outcome.finished_at for outcome in self._known.values()), default=0.0)

    def get(self, config: TrialConfig) -> Outcome | None:
        """What this configuration gave, if it was trained."""
        return self._known.get(outcome_key(config))

    def add(self, config: TrialConfig, outcome: Outcome) -> None:
        """Keeps an outcome on disk.

        Raises:
            StorageError: the file cannot be written; the one before is whole.
        """
        self._known[outcome_key(config)] = outcome
        write_json(self._path, {key: asdict(known) for key, known in self._known.items()})


def outcome_key(config: TrialConfig) -> str:
    """A hash of everything that decides a training's result, the places of weights and data included."""
    values = config.to_dict()
    values["data"].pop("num_workers")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replaces a file in one step.

    Raises:
        StorageError: the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=2, allow_nan=False)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; free space or change study.directory") from None


def _read(path: Path) -> dict[str, Outcome]:
    try:
        return {key: Outcome(**values) for key, values in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path}: damaged ({type(error).__name__}); it should hold the outcome of each step that was trained. "
            f"Put it back from a copy, or delete it to begin again"
        ) from None
