"""A search with real Ray, Optuna and MLflow in which trials end in every way there is. To be run: DIRECTORY.

Each trial writes what befell it, line by line, into `story.log` in its folder: the truth that the views must tell.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "search")]

import tabulated  # noqa: E402

from search.launcher import Device, search  # noqa: E402
from search.tracking import MlflowTracker  # noqa: E402
from trainers.config import TrialConfig  # noqa: E402
from trainers.metrics import EpochMetrics, Evaluation  # noqa: E402

NUM_TRIALS = 24
DIES, LOSES_ITS_DISK = "3", "9"
DIVERGES_ABOVE, RAISES_BELOW = 2.2, 0.15


class EventfulTrial:
    """Keeps its epochs in a file, as a real trial keeps checkpoints."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        self._ratio, self._epochs = config.losses.ratio, config.training.epochs
        self._directory, self._name = directory, directory.name
        path = directory / "epochs.json"
        values = json.loads(path.read_text()) if path.exists() else []
        self.history = tuple(_metrics(epoch, value) for epoch, value in enumerate(values, start=1))

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def is_done(self) -> bool:
        return self.epoch >= self._epochs

    def run_epoch(self) -> EpochMetrics:
        if self._name in {DIES, LOSES_ITS_DISK}:
            if self.epoch == 1:
                self._have_an_accident()
        elif self._ratio > DIVERGES_ABOVE:
            self._tell("nan")
            return _metrics(self.epoch + 1, math.nan)
        elif self._ratio < RAISES_BELOW:
            self._tell("raised")
            raise RuntimeError("this configuration cannot be trained")
        self.history += (_metrics(self.epoch + 1, 60 + 2 * (self.epoch + 1) - 10 * self._ratio),)
        temporary = self._directory / "epochs.tmp"
        temporary.write_text(json.dumps([m.evaluation.top1 for m in self.history]))
        temporary.replace(self._directory / "epochs.json")
        self._tell(f"epoch {self.epoch}")
        return self.history[-1]

    def _have_an_accident(self) -> None:
        kind = "disk" if self._name == LOSES_ITS_DISK else "killed"
        if kind in self.story:
            return
        self._tell(kind)
        if kind == "disk":
            raise OSError("the disk went away")
        os.kill(os.getpid(), signal.SIGKILL)

    @property
    def story(self) -> list[str]:
        path = self._directory / "story.log"
        return path.read_text().splitlines() if path.exists() else []

    def _tell(self, line: str) -> None:
        with (self._directory / "story.log").open("a") as file:
            file.write(f"{line}\n")


def _metrics(epoch: int, top1: float) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, evaluation=Evaluation(top1=top1, top5=99.0, loss=1.0, num_images=10))


def main() -> None:
    directory = Path(sys.argv[1])
    config = tabulated.experiment(
        directory, num_trials=NUM_TRIALS, sampler="random", latency_tolerance=1.0, max_failed_share=1.0
    )
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="a" * 64)
    tracker = MlflowTracker(directory / "toy", close_timeout_s=120.0)
    search(config, device, listeners=[tracker], trial_factory=EventfulTrial)


if __name__ == "__main__":
    import eventful_search

    eventful_search.main()
