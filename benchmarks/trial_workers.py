"""What several workers per trial cost: ours, in the trial's own placement group, beside Ray Train inside of Tune.

The same training (`trainers.fine_tune`, a tiny model, random images, a checkpoint an epoch) with two gloo workers of
one CPU, one trial after the other, in a plain `Tuner` each. Every row is a process of its own with a Ray of its own.
Start-up is from Tune's start of a trial to its first epoch, and the first trial's counts apart, since it also starts
processes that can be used again. CPU is that of all processes, memory the largest sum of their proportional set sizes.

    python benchmarks/trial_workers.py [--quick] [--json FILE]
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bars import Bar, finish, parser  # noqa: E402
from benchmarks.child import last_line  # noqa: E402

NUM_WORKERS, EPOCHS = 2, 3
MODEL = {"img_size": 14, "patch_size": 2, "in_chans": 1, "embed_dim": 24, "depth": 6, "num_heads": 3, "num_classes": 4}
SAMPLE_EVERY_S = 0.5
MAX_START_UP_SHARE, MAX_MEMORY_SHARE = 0.5, 0.7
TIMES = "times.log"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to train the trials. Seconds are medians over trials, but for the first start-up."""

    contestant: str
    num_trials: int
    first_start_up_s: float
    start_up_s: float
    trial_s: float
    cpu_s_per_trial: float
    peak_pss_mib: float
    num_processes: int

    def to_text(self) -> str:
        """One line of the table."""
        return (
            f"{self.contestant:34}{self.num_trials:7}{self.first_start_up_s:10.1f}{self.start_up_s:10.1f}"
            f"{self.trial_s:9.1f}{self.cpu_s_per_trial:8.1f}{self.peak_pss_mib:9.0f}{self.num_processes:11}"
        )


class Processes:
    """Watches this process and all that descend from it."""

    def __init__(self) -> None:
        self.cpu_s: dict[int, float] = {}
        self.peak_pss_mib, self.num = 0.0, 0
        self._is_over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(SAMPLE_EVERY_S):
            pids = list(_tree(os.getpid()))
            pss_mib = sum(filter(None, (_read(pid, self.cpu_s) for pid in pids)))
            if pss_mib > self.peak_pss_mib:
                self.peak_pss_mib, self.num = pss_mib, len(pids)


def _tree(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    while found:
        yield (pid := found.pop())
        found += children.get(pid, [])


def _read(pid: int, cpu_s: dict[int, float]) -> float | None:
    """Notes what a process has used of CPUs; its proportional set size in MiB."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) / 1024.0 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return None


def _note(directory: Path, event: str, trial: str) -> None:
    with (directory / TIMES).open("a") as file:
        file.write(json.dumps({"event": event, "trial": trial, "at": time.time()}) + "\n")


def make_data(directory: Path) -> Any:
    """Random images and the configuration of a trial on them."""
    import numpy as np

    from trainers.config import TrialConfig

    rng = np.random.default_rng(0)
    for split, count in (("train", 64), ("val", 16)):
        images = rng.integers(0, 255, (count, 14, 14), np.uint8)
        np.savez(directory / f"{split}.npz", images=images, labels=np.arange(count) % 4)
    return TrialConfig.model_validate(
        {
            "model": {"name": "vit_tiny_patch16_224", "args": MODEL},
            "data": {"format": "npz", "path": directory},
            "training": {"epochs": EPOCHS, "batch_size": 16, "selector_warmup_steps": 0, "num_threads": 1},
        }
    )


class TimedTrial:
    """The real training, which notes when its first epoch begins."""

    def __init__(self, config: Any, directory: Path) -> None:
        from search.trial_factory import fine_tune_trial
        from trainers.workers import WorkerGroup

        self._trainee, self._directory = fine_tune_trial(config, directory), directory
        self._is_main = WorkerGroup.current().is_main

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainee, name)

    def run_epoch(self) -> Any:
        """The next epoch."""
        if self._trainee.epoch == 0 and self._is_main:
            _note(self._directory.parent, "trains", self._directory.name)
        return self._trainee.run_epoch()


def ours(directory: Path, config: Any, num_trials: int, *, num_workers: int, reuse_actors: bool) -> None:
    """The product's trainable."""
    from ray import tune

    from search.ray_border import PAYLOAD, TrialTask
    from search.trainable import SearchTrainable
    from search.trial_resources import TrialResources

    resources = TrialResources(workers=num_workers)
    tasks = [TrialTask(number=n, config=config, directory=directory / str(n)).to_ray() for n in range(num_trials)]
    trainable = tune.with_parameters(SearchTrainable, factory=TimedTrial, resources=resources)
    _tune(
        tune.with_resources(trainable, tune.PlacementGroupFactory([resources.bundle()] * num_workers)),
        {PAYLOAD: tune.grid_search([task[PAYLOAD] for task in tasks])},
        directory,
        stop={"epoch": EPOCHS},
        reuse_actors=reuse_actors,
    )


def train_in_tune(directory: Path, config: Any, num_trials: int) -> None:
    """Ray Train V2 as its documentation combines it with Tune: a function trainable that runs a `TorchTrainer`."""
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def work(values: dict[str, Any]) -> None:
        from benchmarks.trial_workers import TimedTrial
        from trainers.config import TrialConfig

        trial = TimedTrial(TrialConfig.model_validate(values["config"]), Path(values["directory"]))
        while not trial.is_done:
            train.report(trial.run_epoch().to_dict())

    def trial(values: dict[str, Any]) -> None:
        number = values["number"]
        TorchTrainer(
            work,
            train_loop_config={"config": config.to_dict(), "directory": str(directory / str(number))},
            scaling_config=train.ScalingConfig(num_workers=NUM_WORKERS, resources_per_worker={"CPU": 1}),
            run_config=train.RunConfig(
                name=str(number), storage_path=str(directory / "train"), callbacks=[TuneReportCallback()]
            ),
        ).fit()

    for number in range(num_trials):
        (directory / str(number)).mkdir()
    space = {"number": tune.grid_search(list(range(num_trials)))}
    _tune(tune.with_resources(trial, {"cpu": 0.01}), space, directory)


def _tune(
    trainable: Any, space: dict[str, Any], directory: Path, *, reuse_actors: bool = False, stop: Any = None
) -> None:
    import ray
    from ray import tune

    class Clock(tune.Callback):
        def on_trial_start(self, **info: Any) -> None:
            _note(directory, "starts", info["trial"].trial_id)

        def on_trial_complete(self, **info: Any) -> None:
            _note(directory, "ends", info["trial"].trial_id)

    ray.init(
        num_cpus=NUM_WORKERS + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    results = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=reuse_actors),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(directory / "tune"),
            stop=stop,
            verbose=0,
            callbacks=[Clock()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False) if stop else None,
        ),
    ).fit()
    assert not results.errors, results.errors
    ray.shutdown()


CONTESTANTS: dict[str, Callable[[Path, Any, int], None]] = {
    "Ray Train V2 in Tune, 2 workers": train_in_tune,
    "ours, 2 workers, new actors": lambda d, c, n: ours(d, c, n, num_workers=NUM_WORKERS, reuse_actors=False),
    "ours, 2 workers": lambda d, c, n: ours(d, c, n, num_workers=NUM_WORKERS, reuse_actors=True),
    "ours, 1 worker": lambda d, c, n: ours(d, c, n, num_workers=1, reuse_actors=True),
}


def measure(contestant: str, num_trials: int) -> Row:
    """One contestant, here and now."""
    with tempfile.TemporaryDirectory(prefix="spvit-workers-") as folder, Processes() as processes:
        directory = Path(folder)
        CONTESTANTS[contestant](directory, make_data(directory), num_trials)
        events = [json.loads(line) for line in (directory / TIMES).read_text().splitlines()]
    at = {kind: sorted(e["at"] for e in events if e["event"] == kind) for kind in ("starts", "trains", "ends")}
    assert [len(times) for times in at.values()] == [num_trials] * 3
    start_ups = [trains - starts for starts, trains in zip(at["starts"], at["trains"], strict=True)]
    return Row(
        contestant=contestant,
        num_trials=num_trials,
        first_start_up_s=start_ups[0],
        start_up_s=statistics.median(start_ups[1:] or start_ups),
        trial_s=statistics.median(end - start for start, end in zip(at["starts"], at["ends"], strict=True)),
        cpu_s_per_trial=sum(processes.cpu_s.values()) / num_trials,
        peak_pss_mib=processes.peak_pss_mib,
        num_processes=processes.num,
    )


def measure_alone(contestant: str, num_trials: int) -> Row:
    """One contestant in a process of its own."""
    environment = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    found = last_line(__file__, "--only", contestant, "--num-trials", num_trials, environment=environment)
    return Row(**json.loads(found))


def main() -> int:
    options_parser = parser(__doc__ or "")
    options_parser.add_argument("--only", choices=[*CONTESTANTS], help="this one, in this process; prints its row")
    options_parser.add_argument("--num-trials", type=int)
    options = options_parser.parse_args()
    num_trials = options.num_trials or (2 if options.quick else 6)
    if options.only:
        from benchmarks import trial_workers  # what is sent to workers must have a name there

        print(json.dumps(asdict(trial_workers.measure(options.only, num_trials))))
        return 0
    print(
        f"{'':34}{'trials':>7}{'first s':>10}{'start s':>10}{'trial s':>9}{'CPU s':>8}{'PSS MiB':>9}{'processes':>11}"
    )
    rows = {}
    for contestant in CONTESTANTS:
        rows[contestant] = row = measure_alone(contestant, num_trials)
        print(row.to_text(), flush=True)
    peer, own = rows["Ray Train V2 in Tune, 2 workers"], rows["ours, 2 workers"]
    bars = [
        Bar(
            name="start-up / Ray Train's",
            value=own.start_up_s / peer.start_up_s,
            target=MAX_START_UP_SHARE,
            is_ceiling=True,
        ),
        Bar(
            name="memory / Ray Train's",
            value=own.peak_pss_mib / peer.peak_pss_mib,
            target=MAX_MEMORY_SHARE,
            is_ceiling=True,
        ),
        Bar(name="CPU / Ray Train's", value=own.cpu_s_per_trial / peer.cpu_s_per_trial, target=1.0, is_ceiling=True),
    ]
    finish([asdict(row) for row in rows.values()], bars, options.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
