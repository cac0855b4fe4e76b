"""A search with real Ray on tabulated trials, to be run as a process of its own.

Arguments: DIRECTORY NUM_TRIALS EPOCH_SECONDS, keys of `[search]` as JSON, the `address` of a cluster among them, and
`takeover`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import tabulated

from search.launcher import Device, search
from search.study_opening import OpeningTerms
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics, Evaluation


class TabulatedTrial:
    """Keeps its epochs in a file, as a real trial keeps checkpoints; dies or freezes once where the test says so."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        self._config = config
        self._file = directory / "epochs.json"
        self._seconds = float((directory.parents[1] / "epoch_seconds").read_text())
        values = json.loads(self._file.read_text()) if self._file.exists() else []
        self.history = tuple(_metrics(epoch, value) for epoch, value in enumerate(values, start=1))

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def is_done(self) -> bool:
        return self.epoch >= self._config.training.epochs

    def run_epoch(self) -> EpochMetrics:
        time.sleep(self._seconds)
        for name, number in (("kill_worker", signal.SIGKILL), ("freeze_worker", signal.SIGSTOP)):
            if (order := self._file.parent.parent.parent / name).exists():
                order.unlink()
                os.kill(os.getpid(), number)
        with (self._file.parent / "work.log").open("a") as log:
            log.write(f"{self.epoch + 1}\n")
        self.history += (_metrics(self.epoch + 1, 60 + 2 * (self.epoch + 1) - self._config.losses.ratio),)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps([m.evaluation.top1 for m in self.history]))
        temporary.replace(self._file)
        if self._config.losses.ratio < 0.15:
            raise RuntimeError("this configuration cannot be trained")
        return self.history[-1]


def _metrics(epoch: int, top1: float) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, evaluation=Evaluation(top1=top1, top5=99.0, loss=1.0, num_images=10))


def main() -> None:
    directory, num_trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    limits = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    address = limits.pop("address", None)
    config = tabulated.experiment(directory, num_trials=num_trials, **limits)
    study = directory / "toy"
    study.mkdir(parents=True, exist_ok=True)
    (study / "epoch_seconds").write_text(seconds)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="a" * 64)
    terms = OpeningTerms(takeover="takeover" in sys.argv)
    search(config, device, trial_factory=TabulatedTrial, address=address, terms=terms)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import tabulated_search

    try:
        tabulated_search.main()
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(int(getattr(error, "exit_code", 1)))
