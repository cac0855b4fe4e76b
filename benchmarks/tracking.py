"""What following a search in MLflow costs the driver's process: CPU per report, with many trials finished already.

A study with finished trials is opened, then further trials of three epochs are told to the tracker as the driver tells
them; a real process writes them to a real SQLite file, or in the last row to a server that is away. CPU is that of the
driver's process, all threads, over every hook of the trials (start, three reports, end), divided by the reports.

    python benchmarks/tracking.py [--quick] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bars import Bar, finish, parser
from search.commands.dashboard import free_port
from search.records import Latency, Origin, StudyRecord, TrialRecord, TrialState
from search.tracking import MlflowTracker
from trainers.config import LossWeights
from trainers.metrics import EpochMetrics, Evaluation

EPOCHS = 3
MAX_REPORT_CPU_MS = 5.0
NUM_FINISHED = (0, 100, 500, 1000)


@dataclass(kw_only=True)
class Costs:
    """CPU of the driver's process by hook, in milliseconds, and how often each was called."""

    cpu_ms: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    def of(self, name: str, hook: Callable[[], None]) -> None:
        """Calls a hook."""
        started = time.process_time()
        hook()
        self.cpu_ms[name] += 1e3 * (time.process_time() - started)
        self.calls[name] += 1


def make_trial(number: int, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    """A trial of three stages; slower ones are better, with some noise."""
    rates = [0.9 - 0.6 * ((number * step) % 97) / 97 for step in (7, 11, 13)]
    latency_ms = 3 + 2 * sum(rates)
    top1 = 70 + 3 * sum(rates) + (number % 5) / 5
    stages = [{"block": 3 * stage, "keep_rate": rate} for stage, rate in enumerate(sorted(rates, reverse=True), 1)]
    ended = state.is_finished
    return TrialRecord(
        number=number,
        state=state,
        params={"ratio": 2.0, "lr": 1e-4, **{f"keep{n}": rate for n, rate in enumerate(rates, start=1)}},
        config={"pruning": {"schedule": {"stages": stages}}, "training": {"epochs": EPOCHS}},
        latency=Latency(mean_ms=latency_ms, low_ms=0.98 * latency_ms, high_ms=1.02 * latency_ms),
        keep_counts=tuple(round(196 * rate) for rate in rates),
        blocks=(3, 6, 9),
        origin=Origin.SAMPLER,
        curve=(top1 - 2, top1 - 1, top1) if ended else (),
        top1=top1 if ended else None,
        mlflow_run_id="known" if ended else None,
        started_at=1.7e9 + 10 * number,
        finished_at=1.7e9 + 10 * number + 9 if ended else None,
    )


def make_study(directory: Path, num_finished: int) -> StudyRecord:
    """A study that had so many trials when its driver started."""
    return StudyRecord(
        name=directory.name,
        directory=str(directory),
        experiment={"model": {"name": "noop"}, "pruning": {"blocks": [3, 6, 9]}},
        dense_latency=Latency(mean_ms=10.0, low_ms=9.8, high_ms=10.2),
        max_latency_ms=8.0,
        smaller_budgets_ms=(6.0,),
        num_trials=2 * num_finished,
        num_epochs=EPOCHS,
        trials=tuple(make_trial(number) for number in range(num_finished)),
    )


def report_of(epoch: int, top1: float) -> dict[str, Any]:
    """What a worker reports of an epoch."""
    terms = dict.fromkeys(["total", *(name for name in LossWeights.model_fields if name != "ratio_hinge")], 0.5)
    evaluation = Evaluation(top1=top1, top5=99.0, loss=1.0, num_images=100)
    usage = {f"system/value{number}": 50.0 for number in range(6)}
    return EpochMetrics(epoch=epoch, evaluation=evaluation, loss_terms=terms, lr=1e-4).to_dict() | usage


def play(tracker: MlflowTracker, costs: Costs, number: int) -> None:
    """One trial from its start to its end."""
    trial = make_trial(number)
    running = replace(trial, state=TrialState.RUNNING, curve=(), top1=None, mlflow_run_id=None)
    costs.of("start", lambda: tracker.on_trial_start(running))
    for epoch, top1 in enumerate(trial.curve, start=1):
        record, report = replace(running, curve=trial.curve[:epoch]), report_of(epoch, top1)
        costs.of("report", lambda record=record, report=report: tracker.on_epoch(record, report))
    costs.of("end", lambda: tracker.on_trial_end(trial))


def measure(num_finished: int, num_more: int, pause_s: float, *, is_away: bool = False) -> dict[str, Any]:
    """The driver's CPU with so many finished trials, where MLflow is there or away."""
    with tempfile.TemporaryDirectory(prefix="spvit-tracking-") as folder:
        study, costs = make_study(Path(folder) / "study", num_finished), Costs()
        uri, close_timeout_s = (f"http://127.0.0.1:{free_port()}", 0.0) if is_away else (None, 600.0)
        tracker = MlflowTracker(Path(study.directory), uri=uri, close_timeout_s=close_timeout_s)
        costs.of("open", lambda: tracker.on_study_start(study))
        for number in range(num_finished, num_finished + num_more):
            play(tracker, costs, number)
            time.sleep(pause_s)  # so that the process writes while trials run, as in a search
        tracker.close()
        assert tracker._spool.is_drained is not is_away
    in_trials = sum(costs.cpu_ms[name] for name in ("start", "report", "end"))
    each = {f"{name}_cpu_ms": costs.cpu_ms[name] / costs.calls[name] for name in costs.calls}
    per_report = in_trials / costs.calls["report"]
    return {"num_finished": num_finished, "is_away": is_away, "cpu_ms_per_report": per_report, **each}


def main() -> int:
    options = parser(__doc__ or "").parse_args()
    num_more, pause_s = (20, 0.05) if options.quick else (100, 0.1)
    print(f"{'finished':>8}{'per report':>12}{'start':>8}{'report':>8}{'end':>8}{'open':>10}   (CPU ms)")
    rows = []
    there = [(num_finished, False) for num_finished in (NUM_FINISHED[2:3] if options.quick else NUM_FINISHED)]
    for num_finished, is_away in [*there, (500, True)]:
        rows.append(row := measure(num_finished, num_more, pause_s, is_away=is_away))
        values = [row[f"{name}_cpu_ms"] for name in ("start", "report", "end")]
        cells = "".join(f"{value:8.2f}" for value in values)
        away = "  MLflow away" if is_away else ""
        print(f"{num_finished:8}{row['cpu_ms_per_report']:12.2f}{cells}{row['open_cpu_ms']:10.1f}{away}", flush=True)
    value = max(row["cpu_ms_per_report"] for row in rows if row["num_finished"] == 500)
    bars = [Bar(name="CPU ms per report, 500 finished", value=value, target=MAX_REPORT_CPU_MS, is_ceiling=True)]
    finish(rows, bars, options.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
