"""A search on a Ray cluster whose trials publish their checkpoints.

To be run with the tests' folders on the path: DIRECTORY ADDRESS NUM_TRIALS EPOCH_SECONDS.

Each machine has a home of its own, so none sees what another one trained but by what was published. What a trial did,
and where, is in `log/NUMBER` in DIRECTORY, line by line; what its process knew of secrets in `environment.json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

from search.launcher import Device, search
from search.secrets import is_driver_only
from trainers.checkpoint_names import checkpoint_name, checkpoints_in
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics, Evaluation
from trainers.safe_folder import write_folder

EPOCHS_FILE, SECONDS_FILE, ENVIRONMENT_FILE = "epochs.json", "epoch_seconds", "environment.json"


class ClusterTrial:
    """Keeps its epochs in checkpoints, as a real trial keeps weights."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        self._config, self._directory, self._shared = config, directory, config.data.path
        found = checkpoints_in(directory)
        values = json.loads((found[-1][1] / EPOCHS_FILE).read_text()) if found else []
        self.history = tuple(_metrics(epoch, value) for epoch, value in enumerate(values, start=1))
        secrets = {name: value for name, value in os.environ.items() if is_driver_only(name) or "canary" in value}
        (self._shared / ENVIRONMENT_FILE).write_text(json.dumps(secrets))

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def is_done(self) -> bool:
        return self.epoch >= self._config.training.epochs

    def run_epoch(self) -> EpochMetrics:
        time.sleep(float((self._shared / SECONDS_FILE).read_text()))
        self.history += (_metrics(self.epoch + 1, 60 + 2 * (self.epoch + 1) - self._config.losses.ratio),)
        text = json.dumps([m.evaluation.top1 for m in self.history])
        write_folder(self._directory / checkpoint_name(self.epoch), {EPOCHS_FILE: partial(Path.write_text, data=text)})
        with (self._shared / "log" / self._directory.name).open("a") as log:
            log.write(f"{self.epoch} {os.environ['HOME']}\n")
        return self.history[-1]


def _metrics(epoch: int, top1: float) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, evaluation=Evaluation(top1=top1, top5=99.0, loss=1.0, num_images=10))


def main() -> None:
    import tabulated

    directory, address, num_trials, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    config = tabulated.experiment(directory, num_trials=num_trials, pruner="none")
    study = config.study.model_copy(update={"checkpoints": str(directory / "published")})
    config = config.model_copy(update={"study": study, "data": config.data.model_copy(update={"path": directory})})
    (directory / "log").mkdir(parents=True, exist_ok=True)
    (directory / SECONDS_FILE).write_text(seconds)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="a" * 64)
    search(config, device, trial_factory=ClusterTrial, address=address)


if __name__ == "__main__":
    import cluster_search

    cluster_search.main()
