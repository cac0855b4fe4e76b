"""A search on a Ray cluster whose trials publish their checkpoints.

To be run with the tests' folders on the path: DIRECTORY ADDRESS NUM_TRIALS EPOCH_SECONDS [WORKERS].

Each machine has a home of its own, so none sees what another one trained but by what was published. What a trial did,
and where, is in `log/NUMBER` in DIRECTORY, line by line, that of its further workers in `log/NUMBER.RANK`; what its
process knew of secrets is in `environment.json`.
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
        from trainers.workers import WorkerGroup

        self._config, self._directory, self._shared = config, directory, config.data.path
        self._group = WorkerGroup.current()
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
        self._meet()
        if not self._group.is_main:
            self._note(f"{self._directory.name}.{self._group.rank}")
            return self.history[-1]
        text = json.dumps([m.evaluation.top1 for m in self.history])
        write_folder(self._directory / checkpoint_name(self.epoch), {EPOCHS_FILE: partial(Path.write_text, data=text)})
        self._note(self._directory.name)
        return self.history[-1]

    def _meet(self) -> None:
        """Every worker of the trial takes part, as in training."""
        import torch

        assert self._group.all_reduce_sum(torch.ones(1)).item() == self._group.world_size

    def _note(self, name: str) -> None:
        with (self._shared / "log" / name).open("a") as log:
            log.write(f"{self.epoch} {os.environ['HOME']}\n")


def _metrics(epoch: int, top1: float) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, evaluation=Evaluation(top1=top1, top5=99.0, loss=1.0, num_images=10))


def main() -> None:
    import tabulated

    directory, address, num_trials, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    config = tabulated.experiment(directory, num_trials=num_trials, pruner="none")
    study = config.study.model_copy(update={"checkpoints": str(directory / "published")})
    data = config.data.model_copy(update={"path": directory})
    trial = config.trial.model_copy(update={"workers": int(sys.argv[5]) if len(sys.argv) > 5 else 1})
    config = config.model_copy(update={"study": study, "data": data, "trial": trial})
    (directory / "log").mkdir(parents=True, exist_ok=True)
    (directory / SECONDS_FILE).write_text(seconds)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="a" * 64)
    search(config, device, trial_factory=ClusterTrial, address=address)


if __name__ == "__main__":
    import cluster_search

    cluster_search.main()
