"""Searches of trials that train nothing: what is left of their time is the product's own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spvit.schedule import TokenGeometry, TokenPlan
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics, Evaluation

NUM_CONCURRENT = 2
GEOMETRY = TokenGeometry(depth=12, num_patches=196)
"""DeiT's."""
NAME = "noop"


class NoTraining:
    """A trial that reports and does nothing else. Its top-1 falls with the weight of the ratio loss."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        del directory
        self.config = config
        self.history: tuple[EpochMetrics, ...] = ()

    def top1_after(self, epoch: int) -> float:
        """What to report after an epoch, in percent."""
        return 79 - self.config.losses.ratio + epoch

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is finished."""
        return self.epoch >= self.config.training.epochs

    def run_epoch(self) -> EpochMetrics:
        """The next report."""
        evaluation = Evaluation(top1=self.top1_after(self.epoch + 1), top5=99.0, loss=1.0, num_images=100)
        self.history += (EpochMetrics(epoch=self.epoch + 1, evaluation=evaluation, loss_terms={"total": 1.0}),)
        return self.history[-1]


class Watch:
    """When the first trial started and the last one ended. Deaf to everything else."""

    def __init__(self) -> None:
        self.started_at: float | None = None
        self.ended_at = 0.0
        self.cpu_at_start_s, self.cpu_at_end_s = 0.0, 0.0
        self.num_ended = 0

    def start(self) -> None:
        """A trial started."""
        if self.started_at is None:
            self.started_at, self.cpu_at_start_s = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """A trial ended."""
        self.ended_at, self.cpu_at_end_s = time.perf_counter(), time.process_time()
        self.num_ended += 1

    @property
    def loop_s(self) -> float:
        """Seconds from the first trial's start to the last one's end."""
        assert self.started_at is not None
        return self.ended_at - self.started_at


def listener(watch: Watch) -> Any:
    """Tells a watch of a search's trials."""
    from search.listener import StudyListener

    class Listener(StudyListener):
        def on_trial_start(self, trial: Any) -> None:
            del trial
            watch.start()

        def on_trial_end(self, trial: Any) -> None:
            del trial
            watch.end()

    return Listener()


def price(plan: TokenPlan) -> Any:
    """A latency that grows with the tokens of the blocks."""
    from search.records import Latency

    mean_ms = sum(plan.block_tokens) / 200
    return Latency(mean_ms=mean_ms, low_ms=0.98 * mean_ms, high_ms=1.02 * mean_ms)


def device() -> Any:
    """What such a search knows of its device."""
    from search.launcher import Device

    return Device(geometry=GEOMETRY, price=price, table_sha256="0" * 64)


def experiment(directory: Path, *, epochs: int, num_trials: int, search: Mapping[str, Any]) -> Any:
    """A study in a folder, of so many trials beside the baseline."""
    from search.config import ExperimentConfig

    ratio = {"low": 0.1, "high": 4.0, "log": True}
    return ExperimentConfig.model_validate(
        {
            "study": {"name": NAME, "directory": str(directory), "seed": 1},
            "model": {"name": NAME},
            "data": {"path": "nowhere"},
            "pruning": {"blocks": [3, 6, 9], "base_keep_rate": 0.7},
            "training": {"epochs": epochs, "freeze_epochs": 0},
            "latency": {"max_latency_share": 0.9},
            "search": {
                "mode": "schedule",
                "num_trials": num_trials,
                "num_concurrent": NUM_CONCURRENT,
                "warm_starts": False,
                "widen": False,
                "space": {"stage_keep_rates": {"low": 0.15, "high": 0.9}, "losses": {"ratio": ratio}},
                **search,
            },
        }
    )


@contextmanager
def without_ray() -> Iterator[None]:
    """Searches in here run one trial after the other in this process, as their driver asks for them."""
    from search import launcher

    on_ray = launcher.run_on_ray
    launcher.run_on_ray = _in_this_process  # type: ignore[assignment]
    try:
        yield
    finally:
        launcher.run_on_ray = on_ray


def _in_this_process(driver: Any, _: Any, factory: Any, **__: Any) -> None:
    from search.driver import Decision, Idle

    while not isinstance(trial := driver.suggest(), Idle):
        trainee = factory(TrialConfig.model_validate(trial.config), driver.directory)
        while driver.on_result(trial.number, trainee.run_epoch().to_dict()) is not Decision.STOP:
            pass
        driver.on_complete(trial.number)
