"""What is checked, and what every check of an export has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from search.check_report import CheckLine, changed_names, note, passed_if
from search.config import ExperimentConfig
from search.experiment import load_experiment
from search.export_files import EXPERIMENT
from search.export_hashes import code_sha256, environment
from trainers.config import DataConfig

DATA = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """What is checked. `data` is where the validation images are now, if not where the export's experiment says."""

    folder: Path
    data: Path | None = None
    max_latency_ms: float | None = None
    time_limit_s: float = 60.0


class MadeWith(Protocol):
    """What an export says of how it was made."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Versions of what ran."""

    @property
    def code_sha256(self) -> str:
        """Of this program."""


def surroundings(stored: MadeWith) -> Iterator[CheckLine]:
    """What may be different where a model is checked, and explains what is."""
    changes = changed_names(dict(stored.environment), environment())
    yield note("environment", f"changed: {', '.join(changes)}" if changes else "as it was exported with")
    is_same = stored.code_sha256 == code_sha256()
    yield note("code", "as it was exported with" if is_same else "another version than it was exported with")


def checked_experiment(request: CheckRequest) -> ExperimentConfig:
    """The export's own experiment, its data being where it is now.

    Raises:
        ConfigError: it cannot be read.
    """
    experiment = load_experiment(request.folder / EXPERIMENT)
    if request.data is None:
        return experiment
    data: DataConfig = experiment.data.model_copy(update={"path": request.data.absolute()})
    return experiment.model_copy(update={"data": data})


def data_line(promised_sha256: str, found_sha256: str) -> CheckLine:
    """Whether the images are those that the accuracies were certified on."""
    is_same = promised_sha256 == found_sha256
    other = "other images, labels or preparation (another version of pillow or torchvision?) than those of the export"
    return passed_if(DATA, holds=is_same, text="the validation split of the export" if is_same else other)


def device_line(device: str, *, is_here: bool) -> CheckLine:
    """Whether what is measured here was measured on the same device before."""
    return note("device", "the one it was exported on" if is_here else f"another one than {device}")


def device_id(experiment: ExperimentConfig) -> str:
    """This device, by what runs the model."""
    from latency_tables.device import DeviceFingerprint

    return DeviceFingerprint.detect(experiment.latency.device, runtime=experiment.latency.runtime).id
