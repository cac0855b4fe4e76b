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
from kept_trial import KeptTrial

from search import signals
from search.launcher import Device, search
from search.study_opening import OpeningTerms
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics

signals.IN_ORDER_WITHIN_S = 100.0
"""What an end in order leaves is looked at here, on machines that are busy; tests/faults/stop_times.py times it."""


class TabulatedTrial(KeptTrial):
    """Dies or freezes once where the test says so. How long its epochs take is known from its begin on."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        super().__init__(config, directory)
        self._epoch_s = float((directory.parents[1] / "epoch_seconds").read_text())

    def run_epoch(self) -> EpochMetrics:
        study = self._directory.parents[1]
        time.sleep(self._epoch_s)
        for name, number in (("kill_worker", signal.SIGKILL), ("freeze_worker", signal.SIGSTOP)):
            if (order := study / name).exists():
                order.unlink()
                os.kill(os.getpid(), number)
        with (self._directory / "work.log").open("a") as log:
            log.write(f"{self.epoch + 1}\n")
        metrics = self._after(60 + 2 * (self.epoch + 1) - self._config.losses.ratio)
        if self._config.losses.ratio < 0.15:
            raise RuntimeError("this configuration cannot be trained")
        return metrics


def main() -> None:
    directory, num_trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    limits = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    address = limits.pop("address", None)
    config = tabulated.experiment(directory, num_trials=num_trials, **limits)
    study = directory / "toy"
    study.mkdir(parents=True, exist_ok=True)
    (study / "epoch_seconds").write_text(seconds)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
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
