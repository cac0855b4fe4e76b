"""A finished study as a table of its own: what every configuration costs and reaches, for searches to be replayed on.

Pure values. What a table's file looks like is the business of `search.recorded_file`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.records import Latency
from spvit.schedule import TokenGeometry


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedTrial:
    """One configuration that was trained to the end.

    Attributes:
        number: of the trial in its study.
        params: what the sampler named, by its names.
        config: the whole trial, as `TrialConfig.to_dict` writes it.
        block_tokens: tokens that enter each block.
        latency: predicted from the study's latency table.
        curve: validation top-1 in percent after each epoch.
        epoch_s: seconds that each epoch took.

    Raises:
        ValueError: the numbers cannot be those of a trial.
    """

    number: int
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    block_tokens: tuple[int, ...]
    latency: Latency
    curve: tuple[float, ...]
    epoch_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.params:
            raise ValueError(f"trial {self.number}: parameters were required, but it has none")
        if not self.curve or len(self.curve) != len(self.epoch_s):
            raise ValueError(
                f"trial {self.number}: top-1 and seconds of the same epochs were required, but got {len(self.curve)} "
                f"and {len(self.epoch_s)}"
            )
        if not all(0.0 <= top1 <= 100.0 for top1 in self.curve):
            raise ValueError(f"trial {self.number}: top-1 from 0 to 100 percent was required, but got {self.curve}")
        if not all(0.0 < seconds < math.inf for seconds in self.epoch_s):
            raise ValueError(f"trial {self.number}: epochs must take seconds above 0, but got {self.epoch_s}")
        if not 0.0 < self.latency.low_ms <= self.latency.mean_ms <= self.latency.high_ms < math.inf:
            raise ValueError(f"trial {self.number}: low <= mean <= high was required, but got {self.latency}")

    @property
    def top1(self) -> float:
        """Validation top-1, percent, after the last epoch."""
        return self.curve[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedStudy:
    """Configurations of one study, each trained for the same number of epochs.

    Attributes:
        trials: in the order of their numbers.
        epochs: that every one was trained for.
        experiment: the study's experiment as TOML; its paths are relative to the table's folder.
        geometry: token counts of the backbone.
        dense_ms: predicted latency of the unpruned model, milliseconds.
        provenance: where it comes from: versions, device, hashes, by name.

    Raises:
        ValueError: there are no trials, or they do not belong together.
    """

    trials: tuple[RecordedTrial, ...]
    epochs: int
    experiment: str
    geometry: TokenGeometry
    dense_ms: float
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError("one trial at least was required, but there is none")
        numbers = [trial.number for trial in self.trials]
        if numbers != sorted(set(numbers)):
            raise ValueError(f"trials in the order of their numbers, each once, were required, but got {numbers}")
        for trial in self.trials:
            if len(trial.curve) != self.epochs:
                raise ValueError(
                    f"trial {trial.number}: {self.epochs} epochs were required, but got {len(trial.curve)}"
                )
        if not 0.0 < self.dense_ms < math.inf:
            raise ValueError(f"the dense model's latency must be above 0 ms, but got {self.dense_ms}")

    def save(self, path: Path) -> None:
        """Writes the table as a Parquet file, in one step.

        Raises:
            StorageError: the file cannot be written.
        """
        from search.recorded_file import write_recorded

        write_recorded(self, path)

    @classmethod
    def load(cls, path: Path) -> RecordedStudy:
        """Reads what `save` wrote.

        Raises:
            UsageError: there is no such file.
            StorageError: it is damaged, or no such table.
        """
        from search.recorded_file import read_recorded

        return read_recorded(path)
