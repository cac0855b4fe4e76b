"""A trial without training for searches on real Ray: known accuracies, and epochs that outlive its process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics, Evaluation


class KeptTrial:
    """Keeps its epochs in a file, as a real trial keeps checkpoints. What an epoch is comes from who extends it."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        self._config, self._directory = config, directory
        self.history = tuple(_metrics(epoch, top1) for epoch, top1 in enumerate(self._kept(), start=1))

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def is_done(self) -> bool:
        return self.epoch >= self._config.training.epochs

    def _after(self, top1: float) -> EpochMetrics:
        """One more epoch has this top-1, and will have it whatever becomes of the process."""
        self.history += (_metrics(self.epoch + 1, top1),)
        self._keep([metrics.evaluation.top1 for metrics in self.history])
        return self.history[-1]

    def _unkept(self, top1: float) -> EpochMetrics:
        """The next epoch as it is reported, without a checkpoint."""
        return _metrics(self.epoch + 1, top1)

    def _kept(self) -> Sequence[float]:
        return json.loads(self._file.read_text()) if self._file.exists() else []

    def _keep(self, tops: Sequence[float]) -> None:
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(tops))
        temporary.replace(self._file)

    @property
    def _file(self) -> Path:
        return self._directory / "epochs.json"


def _metrics(epoch: int, top1: float) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, evaluation=Evaluation(top1=top1, top5=99.0, loss=1.0, num_images=10))
