"""What a trial costs the driver: no-op trials per second through Ray, with study, pruning and tracking.

Each row is a process of its own. Trials report up to three epochs and do nothing else; actors are reused, two run at
a time, and every sampler is Optuna's TPE. The peer is Ray's own `OptunaSearch` with ASHA, its study in memory; it
tracks nothing. A second row gives it a SQLite study as ours has. Seconds are those of the whole search, Ray's and
MLflow's start and end included; the rate "in the loop" counts from the first trial's start to the last one's end.

    python benchmarks/driver.py [--quick] [--json FILE] [--profile FILE]
"""

from __future__ import annotations

import contextlib
import cProfile
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bars import Bar, finish, parser
from benchmarks.child import last_line
from benchmarks.noop import NAME, NUM_CONCURRENT, NoTraining, Watch, device, experiment, listener, without_ray

EPOCHS = 3
MIN_TRIALS_PER_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to run trials.

    `cpu_ms` is what the driver's process took per trial: its threads, not its children. `loop_cpu_ms` is what it took
    between the first trial's start and the last one's end.
    """

    contestant: str
    num_trials: int
    seconds: float
    loop_s: float
    cpu_ms: float
    loop_cpu_ms: float

    @property
    def per_second(self) -> float:
        """Trials per second, everything included."""
        return self.num_trials / self.seconds

    @property
    def per_second_in_loop(self) -> float:
        """Trials per second once the first has started."""
        return self.num_trials / self.loop_s


def _experiment(directory: Path, num_trials: int) -> Any:
    search = {"sampler": "tpe", "pruner": "median", "grace_epochs": 1}
    return experiment(directory, epochs=EPOCHS, num_trials=num_trials, search=search)


def ours(directory: Path, num_trials: int, watch: Watch, *, is_tracked: bool) -> None:
    """The product's search: SQLite study, cap, TPE, median pruner, Ray, and MLflow if tracked."""
    from search.launcher import search
    from search.study import read_study
    from search.tracking import MlflowTracker

    listeners = [listener(watch)]
    tracker = MlflowTracker(directory / NAME, close_timeout_s=600.0) if is_tracked else None
    study = search(
        _experiment(directory, num_trials),
        device(),
        listeners=[*listeners, *([tracker] if tracker else [])],
        trial_factory=NoTraining,
    )
    assert len(study.trials) == num_trials + 1
    if tracker is not None:
        assert tracker._spool.is_drained
        assert all(trial.mlflow_run_id for trial in read_study(directory / NAME).trials)


def driver_alone(directory: Path, num_trials: int, watch: Watch, *, is_tracked: bool) -> None:
    """The same study, sampler and pruner without Ray: one trial after the other in this process."""
    with without_ray():
        ours(directory, num_trials, watch, is_tracked=is_tracked)


def peer(directory: Path, num_trials: int, watch: Watch, *, in_sqlite: bool) -> None:
    """Ray's own search: OptunaSearch with TPE, ASHA, actors reused."""
    import logging

    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    class NoOp(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.ratio = new_config["ratio"]
            return True

        def step(self) -> dict[str, Any]:
            return {"top1": 80 - self.ratio + self.iteration, "done": self.iteration + 1 >= EPOCHS}

    class Timer(tune.Callback):
        def on_trial_start(self, **_: Any) -> None:
            watch.start()

        def on_trial_complete(self, **_: Any) -> None:
            watch.end()

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ray.init(num_cpus=NUM_CONCURRENT, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False)
    tune.Tuner(
        NoOp,
        tune_config=tune.TuneConfig(
            metric="top1",
            mode="max",
            search_alg=OptunaSearch(
                sampler=optuna.samplers.TPESampler(seed=1),
                storage=optuna.storages.RDBStorage(f"sqlite:///{directory}/study.db") if in_sqlite else None,
            ),
            scheduler=tune.schedulers.ASHAScheduler(max_t=EPOCHS, grace_period=2, reduction_factor=2),
            num_samples=num_trials,
            reuse_actors=True,
            max_concurrent_trials=NUM_CONCURRENT,
        ),
        param_space={
            **{f"keep{stage}": tune.uniform(0.15, 0.9) for stage in (1, 2, 3)},
            "ratio": tune.loguniform(0.1, 4.0),
        },
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(directory),
            verbose=0,
            callbacks=[Timer()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    ray.shutdown()


CONTESTANTS: dict[str, Callable[[Path, int, Watch], None]] = {
    "OptunaSearch, in memory": lambda d, n, w: peer(d, n, w, in_sqlite=False),
    "OptunaSearch, SQLite": lambda d, n, w: peer(d, n, w, in_sqlite=True),
    "ours, no Ray, untracked": lambda d, n, w: driver_alone(d, n, w, is_tracked=False),
    "ours, no Ray, tracked": lambda d, n, w: driver_alone(d, n, w, is_tracked=True),
    "ours, untracked": lambda d, n, w: ours(d, n, w, is_tracked=False),
    "ours, tracked in MLflow": lambda d, n, w: ours(d, n, w, is_tracked=True),
}


def measure(contestant: str, num_trials: int, profile: Path | None) -> Row:
    """One contestant, here and now."""
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="spvit-driver-") as folder:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        with cProfile.Profile() if profile else contextlib.nullcontext() as profiler:
            CONTESTANTS[contestant](Path(folder), num_trials, watch)
        seconds, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    if profile and profiler:
        profiler.dump_stats(profile)
    assert watch.num_ended >= num_trials
    return Row(
        contestant=contestant,
        num_trials=num_trials,
        seconds=seconds,
        loop_s=watch.loop_s,
        cpu_ms=1e3 * cpu_s / num_trials,
        loop_cpu_ms=1e3 * (watch.cpu_at_end_s - watch.cpu_at_start_s) / num_trials,
    )


def measure_alone(contestant: str, num_trials: int) -> Row:
    """One contestant in a process of its own."""
    return Row(**json.loads(last_line(__file__, "--only", contestant, "--num-trials", num_trials)))


def main() -> int:
    options_parser = parser(__doc__ or "")
    options_parser.add_argument("--only", choices=[*CONTESTANTS], help="this one, in this process; prints its row")
    options_parser.add_argument("--num-trials", type=int)
    options_parser.add_argument("--profile", type=Path, help="with --only: write cProfile's statistics here")
    options = options_parser.parse_args()
    num_trials = options.num_trials or (100 if options.quick else 1000)
    if options.only:
        print(json.dumps(asdict(measure(options.only, num_trials, options.profile))))
        return 0
    print(f"{'':26}{'trials':>8}{'trials/s':>10}{'in the loop':>13}{'CPU ms/trial':>14}{'in the loop':>13}")
    rows = []
    for contestant in CONTESTANTS:
        rows.append(row := measure_alone(contestant, num_trials))
        print(
            f"{contestant:26}{row.num_trials:8}{row.per_second:10.1f}{row.per_second_in_loop:13.1f}{row.cpu_ms:14.1f}"
            f"{row.loop_cpu_ms:13.1f}",
            flush=True,
        )
    bars = [Bar(name="trials per second, tracked", value=rows[-1].per_second, target=MIN_TRIALS_PER_S)]
    finish([asdict(row) for row in rows], bars, options.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
