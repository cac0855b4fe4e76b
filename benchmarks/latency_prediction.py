"""Predicted against measured latency of complete pruned models, and whether a table measured twice says the same.

    python benchmarks/latency_prediction.py [--quick] [--json FILE] [--models deit_tiny_patch16_224] [--batches 1 8]

A table is measured as `spvit-search profile` does. Then 30 random schedules of one to three selectors at random blocks,
none of which the table was fitted on, are built with random weights and run interleaved with the dense model; one
thread, CPU time. Errors are those of their shares of the dense model's latency. Beside the table's prediction:

* MACs: latency in proportion to multiply-accumulates;
* keep rates: the paper's latency-sparsity table, one block's latency at keep rates 0.5, 0.6, ..., 1.0, straight lines
  between and beyond, without selectors.

A/A: one model is profiled twice, alone and while another process loads a core. Each part, as a multiple of its table's
reference block, is to differ by less than the two stated intervals.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from bars import Bar, finish, parser

from latency_tables.compare import compare_tables
from latency_tables.end_to_end import random_schedules
from latency_tables.measure import Effort, measure_table
from latency_tables.predictor import Predictor
from latency_tables.table import LatencyTable
from latency_tables.timing import compare_models
from spvit.factory import create_backbone
from spvit.macs import count_macs
from spvit.options import HeadWeighting, SelectorKind
from spvit.pruning import prune
from spvit.schedule import PruningSchedule, TokenPlan
from spvit.widths import widths_of

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224")
BATCHES = (1, 8)
NUM_SCHEDULES = 30
SEED = 4
"""Of the schedules; the table draws its own with another."""
PAPER_KEEP_RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TABLE, MACS, PAPER = "table", "MACs", "keep rates"

Share = Callable[[TokenPlan], float]
"""Predicted latency of a plan over that of the dense model."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured for how long, in wall seconds."""

    model: str
    batch_size: int
    table_s: float
    num_rounds: int
    models_s: float

    def __str__(self) -> str:
        return f"{self.model}, batch {self.batch_size}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Complete models: shares of the dense model's latency, (models,) each, measured and predicted by the table."""

    plans: tuple[TokenPlan, ...]
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def coverage(self) -> float:
        """Share of the models within their predicted interval."""
        return float(np.mean((self.low <= self.shares) & (self.shares <= self.high)))


def unseen_schedules(table: LatencyTable, number: int) -> list[PruningSchedule]:
    """Random schedules, without those that the table was fitted on or checked with."""
    package = table.selector.package
    fitted = random_schedules(table.geometry, package, num_schedules=100, seed=0)
    known = {schedule.plan(table.geometry, package) for schedule in fitted}
    drawn = random_schedules(table.geometry, package, num_schedules=2 * number, seed=SEED)
    return [schedule for schedule in drawn if schedule.plan(table.geometry, package) not in known][:number]


def measure_models(case: Case, backbone: Any, table: LatencyTable) -> Measured:
    schedules = unseen_schedules(table, NUM_SCHEDULES)
    plans = tuple(schedule.plan(table.geometry, table.selector.package) for schedule in schedules)
    models = {str(number): prune(backbone, schedule).eval() for number, schedule in enumerate(schedules)}
    images = torch.randn(case.batch_size, 3, 224, 224)
    limits = {"num_rounds": case.num_rounds, "time_limit_s": case.models_s}
    timed = compare_models({"dense": backbone, **models}, images, seed=SEED, **limits)
    predictor = Predictor(table)
    estimates, dense_ms = [predictor.predict(plan) for plan in plans], predictor.dense.mean_ms
    return Measured(
        plans=plans,
        shares=np.array([timed[str(number)].ratio.median for number in range(len(plans))]),
        low=np.array([estimate.low_ms / dense_ms for estimate in estimates]),
        high=np.array([estimate.high_ms / dense_ms for estimate in estimates]),
    )


def predictions(backbone: Any, table: LatencyTable) -> dict[str, Share]:
    """The table's prediction, and the two that it is compared with."""
    predictor, num_patches = Predictor(table), table.geometry.num_patches
    widths = widths_of(backbone, selector=SelectorKind.MULTI_HEAD, weighting=HeadWeighting.SENET)
    dense = PruningSchedule().plan(table.geometry)
    dense_macs = count_macs(dense, widths, num_patches=num_patches)
    return {
        TABLE: lambda plan: predictor.predict(plan).mean_ms / predictor.dense.mean_ms,
        MACS: lambda plan: count_macs(plan, widths, num_patches=num_patches) / dense_macs,
        PAPER: by_keep_rates(table),
    }


def by_keep_rates(table: LatencyTable) -> Share:
    """The paper's table: a block's latency by its keep rate, read off our own curve."""
    counts, num_patches = np.array(list(table.blocks)), table.geometry.num_patches
    num_prefix = table.geometry.num_prefix_tokens
    times = [row.median_ms for row in table.blocks.values()]
    rates = np.array(PAPER_KEEP_RATES)
    block = np.interp(num_prefix + np.rint(rates * num_patches), counts, times)

    def share(plan: TokenPlan) -> float:
        kept = [num_patches] * len(plan.block_tokens)
        for selection in plan.selections:
            kept[selection.block :] = [selection.num_kept] * (len(kept) - selection.block)
        asked = np.array(kept) / num_patches
        below = block[0] + (asked - rates[0]) * (block[1] - block[0]) / (rates[1] - rates[0])
        return float(np.where(asked < rates[0], below, np.interp(asked, rates, block)).sum() / (len(kept) * block[-1]))

    return share


def errors_percent(share: Share, measured: Measured) -> np.ndarray:
    predicted = np.array([share(plan) for plan in measured.plans])
    return np.abs(100.0 * (predicted / measured.shares - 1.0))


def run(case: Case) -> tuple[list[dict[str, Any]], Measured]:
    torch.manual_seed(0)
    backbone = create_backbone(case.model).eval()
    effort = Effort(time_limit_s=case.table_s)
    table = measure_table(backbone, name=case.model, batch_size=case.batch_size, effort=effort)
    measured = measure_models(case, backbone, table)
    rows = []
    for name, share in predictions(backbone, table).items():
        errors = errors_percent(share, measured)
        median, p90, largest = (float(bound) for bound in np.quantile(errors, (0.5, 0.9, 1.0)))
        rows.append(asdict(case) | {"prediction": name, "median": median, "p90": p90, "max": largest})
    rows[0] |= {
        "coverage": measured.coverage,
        "interval_percent": float(np.median((measured.high - measured.low) / (measured.high + measured.low)) * 100.0),
        "table_p90": table.end_to_end.p90_error_percent,
        "shares": measured.shares.tolist(),
        "predicted": [predictions(backbone, table)[TABLE](plan) for plan in measured.plans],
        "low": measured.low.tolist(),
        "high": measured.high.tolist(),
    }
    return rows, measured


@contextmanager
def loaded_core() -> Iterator[None]:
    """Another process that multiplies matrices meanwhile."""
    process = multiprocessing.get_context("spawn").Process(target=multiply_for_ever, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def multiply_for_ever() -> None:
    torch.set_num_threads(1)
    matrix = torch.randn(512, 512)
    while True:
        matrix = torch.nn.functional.normalize(matrix @ matrix)


def repeat(model: str, seconds: float, *, is_loaded: bool) -> dict[str, Any]:
    """One model profiled twice."""
    backbone = create_backbone(model).eval()
    tables = []
    for number in range(2):
        with loaded_core() if is_loaded and number else contextmanager(lambda: iter([None]))():
            tables.append(measure_table(backbone, name=model, effort=Effort(time_limit_s=seconds)))
    rows = compare_tables(*tables).rows
    return {
        "model": model,
        "loaded": is_loaded,
        "points": len(rows),
        "agreeing": sum(not row.differs for row in rows) / len(rows),
        "median_difference": float(np.median([100.0 * abs(row.ratio - 1.0) for row in rows])),
        "apart": [row.name for row in rows if row.differs],
    }


def print_case(case: Case, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{case}: errors of the predicted share of the dense latency (%)")
    print(f"  {'':12}{'median':>8}{'p90':>8}{'max':>8}")
    for row in rows:
        print(f"  {row['prediction']:12}{row['median']:8.2f}{row['p90']:8.2f}{row['max']:8.2f}")
    print(f"  intervals of +- {rows[0]['interval_percent']:.1f} % hold {100 * rows[0]['coverage']:.0f} % of the models")


def bars_of(rows: Sequence[dict[str, Any]], repeats: Sequence[dict[str, Any]]) -> list[Bar]:
    ours = [row for row in rows if row["prediction"] == TABLE]
    bars = []
    for row in ours:
        where = f"{row['model']}, batch {row['batch_size']}"
        bars.append(Bar(name=f"median error (%), {where}", value=row["median"], target=2.0, is_ceiling=True))
        bars.append(Bar(name=f"p90 error (%), {where}", value=row["p90"], target=4.0, is_ceiling=True))
    coverage = float(np.mean([row["coverage"] for row in ours]))
    bars.append(Bar(name="coverage of the intervals, all models", value=coverage, target=0.85))
    bars.append(Bar(name="coverage of the intervals, all models", value=coverage, target=0.95, is_ceiling=True))
    for row in repeats:
        name = f"A/A: points within the intervals, {'a core loaded' if row['loaded'] else 'alone'}"
        bars.append(Bar(name=name, value=row["agreeing"], target=0.95))
    return bars


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--models", nargs="*", default=MODELS, help="timm names")
    options.add_argument("--batches", nargs="*", type=int, default=BATCHES, help="images per forward pass")
    options.add_argument("--table-seconds", type=float, default=60.0, help="wall time for each table")
    options.add_argument("--rounds", type=int, default=40, help="samples of each complete model")
    options.add_argument(
        "--model-seconds", type=float, default=300.0, help="wall time for the complete models of a row"
    )
    given = options.parse_args()
    limits = {"table_s": given.table_seconds, "num_rounds": given.rounds, "models_s": given.model_seconds}
    if given.quick:
        given.models, given.batches = given.models[:1], given.batches[:1]
        limits = {"table_s": 15.0, "num_rounds": 12, "models_s": 30.0}
    rows: list[dict[str, Any]] = []
    for case in (Case(model=m, batch_size=b, **limits) for m in given.models for b in given.batches):
        measured, _ = run(case)
        print_case(case, measured)
        rows += measured
    repeats = [repeat(given.models[0], limits["table_s"], is_loaded=loaded) for loaded in (False, True)]
    for row in repeats:
        print(f"\nA/A {row['model']}, {'a core loaded' if row['loaded'] else 'alone'}: {row['points']} points")
        print(f"  median difference {row['median_difference']:.2f} %, apart: {', '.join(row['apart']) or 'none'}")
    print()
    finish([*rows, *repeats], bars_of(rows, repeats), given.json)


if __name__ == "__main__":
    main()
