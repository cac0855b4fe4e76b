"""The demo by elastic trials beside the demo as it is: whole time, front, and the model that is taken home.

    python benchmarks/demo_modes.py [--quick] [--json FILE] [--results FOLDER] [--seeds N] [--report]

Each is one `spvit-search run experiments/demo.toml` in a folder of its own, profile and export included, one after the
other on an otherwise idle machine: `auto` as the file says, `schedule` with 18 trials that begin with the backbone. CPU
seconds are those of the command and everything that it starts. A front is worth the mean top-1 of its best model over
all budgets from 60 % of the dense model's latency to the cap; beside it stands the best model within each of the file's
budgets. Runs are kept in the results folder and not done again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bars import Bar, finish, parser

DEMO = Path(__file__).parents[1] / "experiments" / "demo.toml"
SCHEDULE, AUTO = "schedule", "auto"
BUDGET_SHARES = (0.65, 0.72, 0.78)
SCHEDULE_SETTINGS = ("search.mode=schedule", "search.num_trials=18")
QUICK_SETTINGS = ("search.num_trials=4", "training.images_per_epoch=200", "latency.time_limit_s=10")
LOWEST_SHARE = 0.6
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One demo. Top-1s in percent; `num_priced` are schedules that were evaluated without being trained.

    `within` is the top-1 of the best trained model within each of `BUDGET_SHARES`, 0 where there is none.
    """

    mode: str
    seed: int
    size: str
    wall_s: float
    cpu_s: float
    worth: float
    within: tuple[float, ...]
    val_top1: float
    test_top1: float
    speed_up: float
    num_trained: int
    num_priced: int
    tau: float | None


class CpuMeter:
    """CPU seconds of a process and whatever it has started, by looking at them; Linux only."""

    def __init__(self, pid: int) -> None:
        self._family = {pid}
        self._ticks: dict[tuple[int, str], int] = {}

    def look(self) -> None:
        """To be called about every second: what began and ended in between is missed."""
        found = dict(_processes())
        while new := {pid for pid, (parent, _, _) in found.items() if parent in self._family} - self._family:
            self._family |= new
        for pid in self._family & found.keys():
            _, begun, ticks = found[pid]
            self._ticks[pid, begun] = ticks

    @property
    def seconds(self) -> float:
        """So far."""
        return sum(self._ticks.values()) / TICKS_PER_S


def _processes() -> Iterator[tuple[int, tuple[int, str, int]]]:
    """Parent, time of begin and CPU ticks of every process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                values = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            yield int(folder.name), (int(values[1]), values[19], int(values[11]) + int(values[12]))


def run(mode: str, seed: int, size: str, results: Path) -> Run:
    """One demo from nothing."""
    name = f"{mode}-{seed}"
    runs = results / f"runs-{name}-{size}"
    shutil.rmtree(runs, ignore_errors=True)
    settings = [f"study.name={name}", f"study.seed={seed}", *(SCHEDULE_SETTINGS if mode == SCHEDULE else ())]
    settings += QUICK_SETTINGS if size == "quick" else ()
    command = [sys.executable, "-m", "search.cli", "run", str(DEMO), "--runs-dir", str(runs), "--no-register"]
    command += [part for setting in settings for part in ("--set", setting)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    meter = CpuMeter(process.pid)
    while process.poll() is None:
        meter.look()
        time.sleep(1.0)
    wall_s = time.monotonic() - started
    assert process.returncode == 0, f"{name} ended with {process.returncode}"
    return Run(mode=mode, seed=seed, size=size, wall_s=wall_s, cpu_s=meter.seconds, **found_in(runs / name))


def found_in(folder: Path) -> dict[str, Any]:
    """What a demo came to."""
    from search.elastic_front import best_elastic
    from search.rank_agreement import RankAgreement
    from search.study import read_study

    study = read_study(folder)
    certificate = json.loads((folder / "export" / "best" / "certificate.json").read_text())
    own, elastic = certificate["models"]["exported"], best_elastic(study.trials)
    return {
        "worth": worth(study),
        "within": tuple(best_within(study, share) for share in BUDGET_SHARES),
        "val_top1": own["val_top1"],
        "test_top1": own["test_top1"],
        "speed_up": 1.0 / own["ratio"],
        "num_trained": len(study.finished),
        "num_priced": 0 if elastic is None else len(elastic.priced),
        "tau": RankAgreement.of(study.trials).tau,
    }


def worth(study: Any) -> float:
    """Mean top-1 of the best trained model over all budgets, as shares of the dense model's latency."""
    from search.pareto import ParetoPoint, hypervolume

    dense_ms = study.dense_latency.mean_ms
    points = [
        ParetoPoint(number=t.number, top1=t.top1, latency_ms=max(t.latency.mean_ms / dense_ms, LOWEST_SHARE))
        for t in study.finished
    ]
    cap = study.max_latency_ms / dense_ms
    return hypervolume(points, min_top1=0.0, max_latency_ms=cap) / (cap - LOWEST_SHARE)


def best_within(study: Any, share: float) -> float:
    """Top-1 of the best trained model within a share of the dense model's latency, by the upper end of its own."""
    limit_ms = share * study.dense_latency.mean_ms
    return max((t.top1 for t in study.finished if t.latency.high_ms <= limit_ms), default=0.0)


def collect(size: str, num_seeds: int, results: Path, *, may_run: bool) -> list[Run]:
    """All runs, seed after seed; those that the folder lacks are made where that is asked for."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / "runs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    known = {(one.mode, one.seed): one for one in (_run(json.loads(line)) for line in lines) if one.size == size}
    for seed in range(1, num_seeds + 1):
        for mode in (SCHEDULE, AUTO):
            if may_run and (mode, seed) not in known:
                known[mode, seed] = one = run(mode, seed, size, results)
                with path.open("a") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
    return list(known.values())


def _run(values: dict[str, Any]) -> Run:
    return Run(**values | {"within": tuple(values["within"])})


def bars_of(runs: Sequence[Run]) -> list[Bar]:
    """What makes the demo one by elastic trials: for each seed no slower, and as good."""
    by_key = {(one.mode, one.seed): one for one in runs}
    bars = []
    for seed in sorted({one.seed for one in runs}):
        plain, auto = by_key.get((SCHEDULE, seed)), by_key.get((AUTO, seed))
        if plain is not None and auto is not None:
            of = f"of seed {seed}"
            bars += [
                Bar(
                    name=f"whole time over schedule's, {of}",
                    value=auto.wall_s / plain.wall_s,
                    target=1,
                    is_ceiling=True,
                ),
                Bar(name=f"front above schedule's in points, {of}", value=auto.worth - plain.worth, target=0),
                *(
                    Bar(name=f"top-1 within {share:g} above schedule's, {of}", value=own - other, target=0)
                    for share, own, other in zip(BUDGET_SHARES, auto.within, plain.within, strict=True)
                ),
                Bar(name=f"exported top-1 above schedule's, {of}", value=auto.val_top1 - plain.val_top1, target=0),
                Bar(name=f"schedules priced, {of}", value=auto.num_priced, target=200),
            ]
    return bars


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--results", type=Path, default=Path("demo_modes_results"), help="where runs are kept")
    arguments.add_argument("--seeds", type=int, default=2, help="so many of each")
    arguments.add_argument("--report", action="store_true", help="run nothing, report what there is")
    options = arguments.parse_args()
    runs = collect("quick" if options.quick else "full", options.seeds, options.results, may_run=not options.report)
    columns = f"{'mode':9} {'seed':>4} {'wall s':>7} {'CPU s':>6} {'front':>6} {'within each budget':>20}"
    columns += f" {'val':>6} {'test':>6} {'speed':>5}"
    print(f"{columns}  trained priced tau")
    for one in runs:
        tau = "" if one.tau is None else f"{one.tau:.2f}"
        print(
            f"{one.mode:9} {one.seed:4} {one.wall_s:7.0f} {one.cpu_s:6.0f} {one.worth:6.2f} "
            f"{' '.join(f'{top1:6.2f}' for top1 in one.within)} {one.val_top1:6.2f} "
            f"{one.test_top1:6.2f} {one.speed_up:5.2f}  {one.num_trained:7} {one.num_priced:6} {tau}"
        )
    finish([asdict(one) for one in runs], bars_of(runs), options.json)


if __name__ == "__main__":
    main()
