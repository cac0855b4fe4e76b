"""What a search adds to its trainings: 12 real trainings, two at a time, over half of the time that they take bare.

The product's search (its usual sampler, a study in SQLite, MLflow, Ray; nothing is pruned) proposes and trains 12
networks of one thread each. Then the very same trainings run bare, one after the other in one process, and once more
under Ray Tune's own function trainable with `OptunaSearch`, which is given them as its first points and tracks nothing.
Wall time is from the first trial's start to the last one's end: Ray's start-up is apart, workers' is not. Bare is the
sum of the trainings alone, without imports. Each round measures all three; the bar is on the median of the rounds.

    python benchmarks/overhead.py [--quick] [--json FILE] [--rounds N]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bars import Bar, finish, parser  # noqa: E402
from benchmarks.child import last_line  # noqa: E402
from benchmarks.noop import NUM_CONCURRENT, Watch, listener, price  # noqa: E402

NUM_TRIALS = 12
MAX_SHARE = 1.10
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
"""Else Ray's workers give way to whatever else the machine does, and bare trainings do not."""
SIZE, PATCH, DEPTH, NUM_CLASSES = 28, 2, 12, 10
MODEL = {"img_size": SIZE, "patch_size": PATCH, "in_chans": 1, "embed_dim": 48, "depth": DEPTH, "num_heads": 3}
TRAINING = {"selector_warmup_steps": 0, "num_threads": 1, "device": "cpu"}
NAME, CONFIGS = "overhead", "configs.json"
OURS, PEER, BARE = "ours", "Ray Tune, function trainable, OptunaSearch", "bare"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to train the 12 networks in one round; `share` is of half of the bare trainings of that round."""

    round: int
    way: str
    seconds: float
    bare_s: float

    @property
    def share(self) -> float:
        """Wall time over the bare sum of the trainings, shared out to as many as run at a time."""
        return self.seconds / (self.bare_s / NUM_CONCURRENT)

    def to_text(self) -> str:
        """One line of the table."""
        return f"{self.round:5}  {self.way:44}{self.seconds:9.1f}{self.bare_s:9.1f}{self.share:8.3f}"


def make_data(directory: Path, num_images: int) -> None:
    """Random images: what is learned does not matter here."""
    import numpy as np

    rng = np.random.default_rng(0)
    for split, count in (("train", num_images), ("val", 64)):
        images = rng.integers(0, 255, (count, SIZE, SIZE), np.uint8)
        np.savez(directory / f"{split}.npz", images=images, labels=np.arange(count) % NUM_CLASSES)


def _experiment(directory: Path) -> Any:
    from search.config import ExperimentConfig

    return ExperimentConfig.model_validate(
        {
            "study": {"name": NAME, "directory": str(directory), "seed": 1},
            "model": {"name": "vit_tiny_patch16_224", "args": MODEL | {"num_classes": NUM_CLASSES}},
            "data": {"format": "npz", "path": str(directory)},
            "pruning": {"blocks": [3, 6, 9]},
            "training": {"epochs": 3, "freeze_epochs": 0, "batch_size": 32, **TRAINING},
            "latency": {"max_latency_share": 0.9},
            "search": {
                "mode": "schedule",
                "num_trials": NUM_TRIALS,
                "num_concurrent": NUM_CONCURRENT,
                "num_startup_trials": 4,
                "pruner": "none",
                "space": {"stage_keep_rates": {"low": 0.3, "high": 0.9}},
            },
        }
    )


def ours(directory: Path) -> float:
    """The product's search; seconds. Leaves what it trained beside the study."""
    from search.launcher import Device, search
    from search.tracking import MlflowTracker
    from spvit.schedule import TokenGeometry

    device = Device(
        geometry=TokenGeometry(depth=DEPTH, num_patches=(SIZE // PATCH) ** 2), price=price, table_sha256="0" * 64
    )
    watch = Watch()
    study = search(_experiment(directory), device, listeners=[listener(watch), MlflowTracker(directory / NAME)])
    assert len(study.finished) == NUM_TRIALS, [trial.reason for trial in study.trials]
    (directory / CONFIGS).write_text(json.dumps([dict(trial.config) for trial in study.trials]))
    return watch.loop_s


def _trial_config(directory: Path, number: int) -> Any:
    from trainers.config import TrialConfig

    return TrialConfig.model_validate(json.loads((directory / CONFIGS).read_text())[number])


def bare(directory: Path) -> float:
    """The same trainings one after the other; the sum of their seconds."""
    import torch

    from search.trial_factory import fine_tune_trial

    torch.set_num_threads(1)
    sum_s = 0.0
    for number in range(NUM_TRIALS):
        config, started_s = _trial_config(directory, number), time.perf_counter()
        trial = fine_tune_trial(config, directory / BARE / str(number))
        while not trial.is_done:
            trial.run_epoch()
        sum_s += time.perf_counter() - started_s
    return sum_s


def peer(directory: Path) -> float:
    """The same trainings as Ray's documentation writes a search; seconds."""
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    watch = Watch()

    class Timer(tune.Callback):
        def on_trial_start(self, **_: Any) -> None:
            watch.start()

        def on_trial_complete(self, **_: Any) -> None:
            watch.end()

    def train(values: dict[str, Any]) -> None:
        from search.trial_factory import fine_tune_trial

        number = values["number"]
        trial = fine_tune_trial(_trial_config(directory, number), directory / "peer" / str(number))
        while not trial.is_done:
            metrics = trial.run_epoch()
            tune.report({"top1": metrics.evaluation.top1})

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=NUM_CONCURRENT,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
        runtime_env={"env_vars": environment},
    )
    points = [{"number": number} for number in range(NUM_TRIALS)]
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"number": tune.randint(0, NUM_TRIALS)},
        tune_config=tune.TuneConfig(
            metric="top1",
            mode="max",
            search_alg=OptunaSearch(points_to_evaluate=points),
            num_samples=NUM_TRIALS,
            max_concurrent_trials=NUM_CONCURRENT,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(directory / "tune"), verbose=0, callbacks=[Timer()]),
    ).fit()
    ray.shutdown()
    assert not results.errors, results.errors
    assert sorted(result.config["number"] for result in results) == list(range(NUM_TRIALS))
    return watch.loop_s


WAYS = {OURS: ours, BARE: bare, PEER: peer}


def measure(way: str, directory: Path) -> float:
    """One way in a process of its own; seconds."""
    return float(last_line(__file__, "--only", way, "--directory", directory, environment=ENVIRONMENT))


def play(number: int, num_images: int) -> list[Row]:
    """One round: all three, one after the other."""
    with tempfile.TemporaryDirectory(prefix="spvit-overhead-") as folder:
        make_data(Path(folder), num_images)
        seconds = {way: measure(way, Path(folder)) for way in WAYS}
    return [Row(round=number, way=way, seconds=seconds[way], bare_s=seconds[BARE]) for way in (OURS, PEER)]


def main() -> int:
    options_parser = parser(__doc__ or "")
    options_parser.add_argument("--rounds", type=int)
    options_parser.add_argument("--only", choices=[*WAYS], help="this one, in this process; prints its seconds")
    options_parser.add_argument("--directory", type=Path, help="with --only: of the data, and of what it leaves")
    options = options_parser.parse_args()
    if options.only:
        print(WAYS[options.only](options.directory))
        return 0
    num_images = 128 if options.quick else 512
    print(f"{'round':5}  {'':44}{'seconds':>9}{'bare':>9}{'share':>8}")
    rows = []
    for number in range(1, 1 + (options.rounds or (1 if options.quick else 3))):
        for row in play(number, num_images):
            rows.append(row)
            print(row.to_text(), flush=True)
    shares = {way: statistics.median(row.share for row in rows if row.way == way) for way in (OURS, PEER)}
    bars = [Bar(name="wall time over bare / 2", value=shares[OURS], target=MAX_SHARE, is_ceiling=True)]
    print(f"median share: {OURS} {shares[OURS]:.3f}, {PEER} {shares[PEER]:.3f}")
    finish([asdict(row) | {"share": row.share} for row in rows], bars, options.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
