"""Two searches on one real Ray whose trials are trained by two workers each. To be run: DIRECTORY.

The first one ends by itself; some of its trials have accidents, which `FATES` says. The second one is stopped in the
middle of an epoch. What Ray has free after each is printed, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import numpy as np
import tabulated

from search import ray_run
from search.config import ExperimentConfig
from search.driver import SearchDriver
from search.trial_factory import Trainee, fine_tune_trial
from spvit.errors import DataError
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics

NUM_WORKERS, NUM_TRIALS, EPOCHS = 2, 5, 3
MODEL = {"img_size": 14, "patch_size": 2, "in_chans": 1, "embed_dim": 24, "depth": 6, "num_heads": 3, "num_classes": 4}
FATES = {"1": (1, "raises"), "2": (1, "dies"), "4": (1, "loses its data"), "6": (0, "raises"), "7": (0, "dies")}
"""By the trial's folder: which worker has which accident in the second epoch, once. 3, 5 and 8 repeat 2, 4 and 7."""
SLEEP_S, FREE_TIMEOUT_S = 120.0, 30.0


class EventfulTrial:
    """The real thing, but for accidents. What it did is in `story.log`, line by line."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        from trainers.workers import WorkerGroup

        self._trainee: Trainee = fine_tune_trial(config, directory)
        self._directory, self._rank = directory, WorkerGroup.current().rank

    @property
    def epoch(self) -> int:
        return self._trainee.epoch

    @property
    def is_done(self) -> bool:
        return self._trainee.is_done

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        return self._trainee.history

    def run_epoch(self) -> EpochMetrics:
        if (self._directory.parents[1] / "slow").exists():
            (self._directory / f"asleep-{self._rank}").touch()
            time.sleep(SLEEP_S)
        victim, accident = FATES.get(self._directory.name, (-1, ""))
        if self.epoch == 1 and self._rank == victim and accident not in self._story():
            self._tell(accident)
            self._have(accident)
        metrics = self._trainee.run_epoch()
        if self._rank == 0:
            self._tell(f"epoch {metrics.epoch}")
        return metrics

    def _have(self, accident: str) -> None:
        match accident:
            case "raises":
                raise RuntimeError(f"this configuration cannot be trained, finds worker {self._rank}")
            case "loses its data":
                raise DataError("the data went away")
            case _:
                os.kill(os.getpid(), signal.SIGKILL)

    def _story(self) -> list[str]:
        path = self._directory / "story.log"
        return path.read_text().splitlines() if path.exists() else []

    def _tell(self, line: str) -> None:
        with (self._directory / "story.log").open("a") as file:
            file.write(f"{line}\n")


def experiment(directory: Path, name: str) -> ExperimentConfig:
    limits = {"num_trials": NUM_TRIALS, "num_concurrent": 1, "pruner": "none", "max_failed_share": 1.0}
    values: dict[str, Any] = tabulated.experiment(directory, **limits).model_dump(mode="json")
    values["study"]["name"] = name
    values["model"] = {"name": "vit_tiny_patch16_224", "args": MODEL}
    values["data"] = {"format": "npz", "path": str(directory / "data")}
    values["training"] |= {"epochs": EPOCHS, "batch_size": 8, "selector_warmup_steps": 1, "num_threads": 1}
    values["trial"] = {"workers": NUM_WORKERS, "resources_per_worker": {"cpus": 1}}
    return ExperimentConfig.model_validate(values)


def make_data(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 9)):
        images = rng.integers(0, 255, (count, 14, 14), np.uint8)
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(count) % 4)


def free_when_all_is_given_back() -> dict[str, float]:
    """What is free, by Ray's names, as soon as that is everything; else what is after a while."""
    import ray

    deadline = time.monotonic() + FREE_TIMEOUT_S
    while ray.available_resources() != ray.cluster_resources() and time.monotonic() < deadline:
        time.sleep(0.2)
    return {name: ray.available_resources().get(name, 0.0) for name in ("CPU", "memory")}


def groups_left() -> list[str]:
    from ray.util import placement_group_table

    return [group["state"] for group in placement_group_table().values() if group["state"] != "REMOVED"]


def stop_when_all_sleep(study: Path, driver: SearchDriver) -> None:
    while sum(1 for _ in study.glob("trials/*/asleep-*")) < NUM_WORKERS:
        time.sleep(0.2)
    driver.stop()


def main() -> None:
    directory = Path(sys.argv[1])
    make_data(directory / "data")
    eventful, stopped = experiment(directory, "eventful"), experiment(directory, "stopped")
    driver = tabulated.make_driver(eventful)
    found: dict[str, Any] = {}
    with ray_run._ray(eventful, directory, None):
        import ray

        found["all"] = {name: ray.cluster_resources()[name] for name in ("CPU", "memory")}
        ray_run._fit(driver, eventful, EventfulTrial)
        driver.finish()
        found["eventful"] = {"free": free_when_all_is_given_back(), "groups": groups_left()}

        driver = tabulated.make_driver(stopped)
        (directory / "stopped" / "slow").touch()
        Thread(target=stop_when_all_sleep, args=(directory / "stopped", driver), daemon=True).start()
        ray_run._fit(driver, stopped, EventfulTrial)
        driver.finish()
        found["stopped"] = {"free": free_when_all_is_given_back(), "groups": groups_left()}
    print(json.dumps(found))


if __name__ == "__main__":
    import team_search

    team_search.main()
