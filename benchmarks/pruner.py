"""What pruners save on recorded learning curves, and which front members it costs: epochs to 99 % of the hypervolume.

Every configuration of a table is started in a random order, the same one for every pruner under one seed, by the
pruner objects of a search. Hypervolume is that of the trials trained to the end, counted from the 10 % quantile of
final accuracy and the 99 % quantile of latency, as a share of the whole table's. A search that never gets there is
charged, beside its own epochs, with training the whole table without a pruner. `knows the end` is no pruner: it is
told every final accuracy, so nothing that stops only what cannot reach the front can save more (it waits for as many
finished trials as ours).

Tables: `recorded`, the one that comes with the project; `synthetic`, drawn from a model of fine-tunings whose late
bloomers, noise and crossing curves are known; `lcdb`, real learning curves over training set size with real training
times (package lcdb, MIT). Only the first has bars; the others show that nothing was tuned to it.

    python benchmarks/pruner.py [--quick] [--source recorded] [--table FILE] [--workers 1] [--all]
        [--json FILE]
"""

from __future__ import annotations

import random
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import bars
import numpy as np
import optuna
from numpy.typing import NDArray

from search.final_bound import MIN_CURVES
from search.pareto import ParetoPoint, hypervolume, pareto_front
from search.pruner import PeerPruner
from search.records import Latency, TrialRecord, TrialState
from search.search_config import PrunerName, SearchConfig
from trainers.config import TrainingConfig

RECORDED = Path(__file__).parents[1] / "experiments" / "recorded" / "fashion_mnist.parquet"
SHARE = 0.99
GRACE = 1
"""Epochs: one more than the frozen ones of the recorded experiment, which has none."""
OURS, NONE, CEILING = str(PrunerName.PARETO), str(PrunerName.NONE), "knows the end"
CONTESTANTS = (NONE, CEILING, OURS, "median", "successive_halving", "hyperband")
MORE = ("wilcoxon", "patient")
INSTALL = (
    "the source lcdb reads learning curves from the package lcdb, which is not installed. Put it beside the "
    "environment rather than into it:\n"
    "  pip install --no-deps --target /tmp/bench-site lcdb\n"
    "  PYTHONPATH=/tmp/bench-site python benchmarks/pruner.py --source lcdb"
)
Judge = Callable[[TrialRecord], bool]
"""Whether the trial, which has just finished an epoch, goes on."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Accuracies (percent) after each epoch, shape (trials, epochs), and latencies, shape (trials,)."""

    name: str
    curves: NDArray[np.float64]
    latencies: NDArray[np.float64]

    @property
    def points(self) -> list[ParetoPoint]:
        """Where every trial ends."""
        ends = zip(self.curves[:, -1], self.latencies, strict=True)
        return [ParetoPoint(number=n, top1=float(end), latency_ms=float(ms)) for n, (end, ms) in enumerate(ends)]

    def volume(self, points: Sequence[ParetoPoint]) -> float:
        """Hypervolume from the table's reference point."""
        worst = float(np.quantile(self.curves[:, -1], 0.1)), float(np.quantile(self.latencies, 0.99))
        return hypervolume(points, min_top1=worst[0], max_latency_ms=worst[1])


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pruner under one seed. `epochs_to_share` is None if it never got there."""

    table: str
    pruner: str
    seed: int
    epochs_to_share: int | None
    charged_epochs: int
    num_epochs: int
    num_front: int
    num_killed: int


@dataclass(frozen=True, kw_only=True)
class End:
    """How a trial ended; `epochs_so_far` of all trials together."""

    number: int
    is_complete: bool
    epochs_so_far: int


def replay(table: Table, seed: int, judge: Judge, note: Callable[[TrialRecord], None], workers: int) -> Iterator[End]:
    """Starts every trial in a random order; running ones take turns, epoch by epoch."""
    waiting, running, epochs = list(range(len(table.curves))), [], 0
    random.Random(seed).shuffle(waiting)
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(_started(table, waiting.pop(0)))
            note(running[-1])
        record, *rest = running
        epochs += 1
        record = replace(record, curve=tuple(table.curves[record.number, : record.num_epochs + 1]))
        is_complete = record.num_epochs == table.curves.shape[1]
        if is_complete:
            record = replace(record, state=TrialState.COMPLETE, top1=float(record.curve[-1]))
        note(record)
        if not is_complete and judge(record):
            running = [*rest, record]
            continue
        if not is_complete:
            note(replace(record, state=TrialState.PRUNED))
        running = rest
        yield End(number=record.number, is_complete=is_complete, epochs_so_far=epochs)


def run(table: Table, pruner: str, seed: int, workers: int) -> Row:
    """One search over the whole table."""
    judge, note = _oracle(table) if pruner == CEILING else _production(table, PrunerName(pruner))
    ends = list(replay(table, seed, judge, note, workers))
    front = {point.number for point in pareto_front(table.points)}
    goal, complete, reached = SHARE * table.volume(table.points), [], None
    for end in ends:
        if end.is_complete and reached is None:
            complete.append(table.points[end.number])
            reached = end.epochs_so_far if table.volume(complete) >= goal else None
    num_epochs = ends[-1].epochs_so_far
    return Row(
        table=table.name,
        pruner=pruner,
        seed=seed,
        epochs_to_share=reached,
        charged_epochs=num_epochs + table.curves.size if reached is None else reached,
        num_epochs=num_epochs,
        num_front=len(front),
        num_killed=sum(end.number in front for end in ends if not end.is_complete),
    )


def _production(table: Table, name: PrunerName) -> tuple[Judge, Callable[[TrialRecord], None]]:
    training = TrainingConfig(epochs=table.curves.shape[1], freeze_epochs=GRACE - 1)
    pruner = PeerPruner(SearchConfig(pruner=name), training, "benchmark")
    return lambda record: pruner.judge(record).goes_on, pruner.update


def _oracle(table: Table) -> tuple[Judge, Callable[[TrialRecord], None]]:
    finished: list[int] = []

    def judge(record: TrialRecord) -> bool:
        if record.num_epochs <= GRACE or len(finished) < MIN_CURVES:
            return True
        ends = [table.curves[n, -1] for n in finished if table.latencies[n] <= record.latency.mean_ms]
        return not ends or bool(table.curves[record.number, -1] > max(ends))

    def note(record: TrialRecord) -> None:
        if record.state is TrialState.COMPLETE:
            finished.append(record.number)

    return judge, note


def _started(table: Table, number: int) -> TrialRecord:
    latency_ms = float(table.latencies[number])
    return TrialRecord(
        number=number,
        state=TrialState.RUNNING,
        params={},
        config={},
        latency=Latency(mean_ms=latency_ms, low_ms=latency_ms, high_ms=latency_ms),
        keep_counts=(),
        blocks=(),
    )


def recorded(path: Path) -> list[Table]:
    from search.recorded import RecordedStudy

    study = RecordedStudy.load(path)
    curves = np.array([trial.curve for trial in study.trials])
    return [Table(name=path.stem, curves=curves, latencies=np.array([t.latency.mean_ms for t in study.trials]))]


def synthetic() -> list[Table]:
    return [
        _synthetic_table(name, seed, noise=noise, crossing=crossing)
        for seed, (name, noise, crossing) in enumerate(
            (("quiet", 0.1, 1.0), ("as measured", 0.3, 1.0), ("noisy", 0.6, 1.0), ("late bloomers", 0.3, 2.0))
        )
    ]


def _synthetic_table(name: str, seed: int, *, noise: float, crossing: float) -> Table:
    """160 fine-tunings of 12 epochs: slower networks end higher; high learning rates are restless and bloom late."""
    rng = np.random.default_rng(seed)
    epochs, share = np.arange(1, 13), rng.uniform(0.45, 1.0, 160)
    log_lr = rng.uniform(-1.3, 1.3, 160)
    ends = 91 - 28 * (1 - share) ** 1.5 - np.abs(rng.normal(0, 1.2, 160)) + rng.normal(0, 0.3, 160)
    ends -= 6 * np.maximum(0, np.abs(log_lr - 0.2) - 0.3) ** 2
    ends -= np.where(log_lr > 1.15, rng.uniform(0, 40, 160), 0)
    speed = 0.55 * np.exp(0.5 * crossing * log_lr + rng.normal(0, 0.25, 160))
    missing = (35 * (1 - share) + rng.uniform(4, 10, 160))[:, None] * np.exp(-speed[:, None] * epochs)
    still_to_decay = (np.cos(np.pi * epochs / 12) + 1) / 2
    missing += 2 * np.maximum(0, log_lr + 0.3)[:, None] * still_to_decay
    jumps = rng.normal(0, noise, (160, 12)) * (1 + np.exp(log_lr)[:, None] * still_to_decay)
    return Table(name=name, curves=np.clip(ends[:, None] - missing + jumps, 0, 100), latencies=10 * share)


def lcdb() -> list[Table]:
    """160 pairs of learner and split of each of six data sets, last 12 sizes; latency is training time at the last."""
    try:
        import lcdb as package
    except ImportError:
        sys.exit(INSTALL)
    import pandas as pd

    columns = ["openmlid", "learner", "outer_seed", "inner_seed", "size_train", "score_valid", "traintime"]
    everything = pd.read_csv(Path(package.__file__).parent / "database-accuracy.csv", usecols=columns)
    tables = (_lcdb_table(int(key), rows) for key, rows in everything.groupby("openmlid"))
    return [table for table, _ in zip(filter(None, tables), range(6), strict=False)]


def _lcdb_table(dataset: int, rows: object) -> Table | None:
    wide = rows.pivot_table(index=["learner", "outer_seed", "inner_seed"], columns="size_train")  # type: ignore[attr-defined]
    accuracy = wide["score_valid"]
    sizes = [size for size in accuracy.columns if accuracy[size].notna().mean() > 0.8][-12:]
    whole = accuracy[sizes].dropna()
    if len(sizes) < 12 or len(whole) < 160:
        return None
    chosen = whole.sample(160, random_state=dataset)
    seconds = wide["traintime"].loc[chosen.index, sizes[-1]].to_numpy()
    return Table(name=f"openml {dataset}", curves=100 * chosen.to_numpy(), latencies=1 + 1000 * seconds)


def summary(rows: Sequence[Row], pruner: str) -> dict[str, float]:
    """Of one pruner on one source: everything as a mean over tables and seeds, the factor paired with none."""
    own = [row for row in rows if row.pruner == pruner]
    none = {(row.table, row.seed): row for row in rows if row.pruner == NONE}
    return {
        "epochs": statistics.fmean(row.charged_epochs for row in own),
        "factor": sum(none[row.table, row.seed].charged_epochs for row in own) / sum(r.charged_epochs for r in own),
        "all_epochs_factor": sum(none[row.table, row.seed].num_epochs for row in own) / sum(r.num_epochs for r in own),
        "killed": sum(row.num_killed for row in own) / sum(row.num_front for row in own),
        "reached": statistics.fmean(row.epochs_to_share is not None for row in own),
    }


def print_table(rows: Sequence[Row]) -> None:
    print(f"{'pruner':20}{'epochs to 99 %':>15}{'fewer':>8}{'to the end':>12}{'killed':>9}{'reached':>9}")
    for pruner in dict.fromkeys(row.pruner for row in rows):
        of = summary(rows, pruner)
        print(
            f"{pruner:20}{of['epochs']:15.0f}{of['factor']:7.2f}x{of['all_epochs_factor']:11.2f}x"
            f"{100 * of['killed']:8.1f}%{100 * of['reached']:8.0f}%",
            flush=True,
        )


def main() -> int:
    parser = bars.parser(__doc__ or "")
    parser.add_argument("--source", choices=["recorded", "synthetic", "lcdb"], default="recorded")
    parser.add_argument("--table", type=Path, default=RECORDED, help="a recorded study, for --source recorded")
    parser.add_argument("--workers", type=int, default=1, help="trials that run at once")
    parser.add_argument("--all", action="store_true", help=f"{' and '.join(MORE)} too")
    options = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tables = {"recorded": lambda: recorded(options.table), "synthetic": synthetic, "lcdb": lcdb}[options.source]()
    num_seeds = (4 if options.quick else 20) if len(tables) == 1 else (1 if options.quick else 5)
    rows = [
        run(table, pruner, seed, options.workers)
        for pruner in (*CONTESTANTS, *(MORE if options.all else ()))
        for table in tables
        for seed in range(num_seeds)
    ]
    sizes = ", ".join(f"{t.name} {t.curves.shape[0]} x {t.curves.shape[1]}" for t in tables)
    print(f"{options.source} ({sizes}), {num_seeds} seeds, {options.workers} at once")
    print_table(rows)
    ours = summary(rows, OURS)
    held = [
        bars.Bar(name="times fewer epochs than without a pruner", value=ours["factor"], target=3.0),
        bars.Bar(name="share of front members killed", value=ours["killed"], target=0.02, is_ceiling=True),
    ]
    held = held if options.source == "recorded" else []
    bars.finish([asdict(row) for row in rows], held, options.json)
    return 0 if all(bar.holds for bar in held) else 1


if __name__ == "__main__":
    sys.exit(main())
