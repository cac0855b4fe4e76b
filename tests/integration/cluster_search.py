"""A search on a Ray cluster whose trials publish their checkpoints.

To be run: DIRECTORY ADDRESS NUM_TRIALS EPOCH_SECONDS [WORKERS].

Each machine has a home of its own, so none sees what another one trained but by what was published. What a trial did,
and where, is in `log/NUMBER` in DIRECTORY, line by line, that of its further workers in `log/NUMBER.RANK`; what its
process knew of secrets is in `environment.json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import tabulated
from kept_trial import KeptTrial

from search.launcher import Device, search
from search.secrets import is_driver_only
from trainers.checkpoint_names import checkpoint_name, checkpoints_in
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics
from trainers.safe_folder import write_folder

EPOCHS_FILE, SECONDS_FILE, ENVIRONMENT_FILE = "epochs.json", "epoch_seconds", "environment.json"


class ClusterTrial(KeptTrial):
    """Keeps its epochs in checkpoints, which are published."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        from trainers.workers import WorkerGroup

        super().__init__(config, directory)
        self._shared, self._group = config.data.path, WorkerGroup.current()
        secrets = {name: value for name, value in os.environ.items() if is_driver_only(name) or "canary" in value}
        (self._shared / ENVIRONMENT_FILE).write_text(json.dumps(secrets))

    def run_epoch(self) -> EpochMetrics:
        time.sleep(float((self._shared / SECONDS_FILE).read_text()))
        self._meet()
        return self._after(60 + 2 * (self.epoch + 1) - self._config.losses.ratio)

    def _kept(self) -> Sequence[float]:
        found = checkpoints_in(self._directory)
        return json.loads((found[-1][1] / EPOCHS_FILE).read_text()) if found else []

    def _keep(self, tops: Sequence[float]) -> None:
        if not self._group.is_main:
            self._note(f"{self._directory.name}.{self._group.rank}")
            return
        write = partial(Path.write_text, data=json.dumps(tops))
        write_folder(self._directory / checkpoint_name(self.epoch), {EPOCHS_FILE: write})
        self._note(self._directory.name)

    def _meet(self) -> None:
        """Every worker of the trial takes part, as in training."""
        import torch

        assert self._group.all_reduce_sum(torch.ones(1)).item() == self._group.world_size

    def _note(self, name: str) -> None:
        with (self._shared / "log" / name).open("a") as log:
            log.write(f"{self.epoch} {os.environ['HOME']}\n")


def main() -> None:
    directory, address, num_trials, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    config = tabulated.experiment(directory, num_trials=num_trials, pruner="none")
    study = config.study.model_copy(update={"checkpoints": str(directory / "published")})
    data = config.data.model_copy(update={"path": directory})
    trial = config.trial.model_copy(update={"workers": int(sys.argv[5]) if len(sys.argv) > 5 else 1})
    config = config.model_copy(update={"study": study, "data": data, "trial": trial})
    (directory / "log").mkdir(parents=True, exist_ok=True)
    (directory / SECONDS_FILE).write_text(seconds)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
    search(config, device, trial_factory=ClusterTrial, address=address)


if __name__ == "__main__":
    import cluster_search

    cluster_search.main()
