"""A search with real Ray, Optuna and MLflow in which trials end in every way there is. To be run: DIRECTORY.

Each trial writes what befell it, line by line, into `story.log` in its folder: the truth that the views must tell.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "search")]

import tabulated  # noqa: E402
from kept_trial import KeptTrial  # noqa: E402

from search.launcher import Device, search  # noqa: E402
from search.tracking import MlflowTracker  # noqa: E402
from trainers.metrics import EpochMetrics  # noqa: E402

NUM_TRIALS = 24
DIES, LOSES_ITS_DISK = "3", "9"
DIVERGES_ABOVE, RAISES_BELOW = 2.2, 0.15


class EventfulTrial(KeptTrial):
    """Has accidents by its number, and diverges or cannot be trained by its configuration."""

    def run_epoch(self) -> EpochMetrics:
        ratio = self._config.losses.ratio
        if self._name in {DIES, LOSES_ITS_DISK}:
            if self.epoch == 1:
                self._have_an_accident()
        elif ratio > DIVERGES_ABOVE:
            self._tell("nan")
            return self._unkept(math.nan)
        elif ratio < RAISES_BELOW:
            self._tell("raised")
            raise RuntimeError("this configuration cannot be trained")
        metrics = self._after(60 + 2 * (self.epoch + 1) - 10 * ratio)
        self._tell(f"epoch {self.epoch}")
        return metrics

    @property
    def _name(self) -> str:
        return self._directory.name

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


def main() -> None:
    directory = Path(sys.argv[1])
    config = tabulated.experiment(
        directory, num_trials=NUM_TRIALS, sampler="random", latency_tolerance=1.0, max_failed_share=1.0
    )
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
    tracker = MlflowTracker(directory / "toy", close_timeout_s=120.0)
    search(config, device, listeners=[tracker], trial_factory=EventfulTrial)


if __name__ == "__main__":
    import eventful_search

    eventful_search.main()
