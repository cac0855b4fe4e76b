"""What a large study costs: 1,000 trials of 20 epochs that train nothing, and then looking at them.

The search has the usual sampler and pruner, the lines on stderr and MLflow, as `launch` has; the last epoch can change
everything and the pruner is to be nearly certain, so it is asked at every report and stops next to nothing. Once on
Ray and once without, where the driver's own share is all there is. A row stands for a tenth of the trials: memory is
the driver's at its end, CPU that of the driver's process, all threads, by what the driver was asked: to suggest a
trial, to judge a report. Then the finished study is read by commands, each in a process of its own as a user starts
it, and its runs are searched in MLflow.

    python benchmarks/load.py [--quick] [--json FILE] [--only ray|alone] [--num-trials N] [--profile FILE]
"""

from __future__ import annotations

import contextlib
import cProfile
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bars import Bar, finish, parser  # noqa: E402
from benchmarks.child import last_line  # noqa: E402
from benchmarks.noop import GEOMETRY, NAME, NoTraining, device, experiment, without_ray  # noqa: E402
from search.driver import SearchDriver  # noqa: E402
from search.tracking import MlflowTracker, default_tracking_uri  # noqa: E402

EPOCHS = 20
SURE = {"pruner_confidence": 1 - 1e-9}
NUM_ROWS = 10
WAYS = ("alone", "ray")
COMMANDS = ("status", "pareto", "trials")
MAX_MEMORY_SHARE = 1.1
MAX_REPORT_CPU_MS = 5.0
MAX_LOOK_S = 5.0
HEADING = (
    f"{'':8}{'trials':>8}{'reports':>9}{'RSS MiB':>10}{'ms/suggest':>12}{'ms/judge':>10}{'ms/report all':>14}{'s':>9}"
)


class LateSurprise(NoTraining):
    """A trial whose last epoch may gain or lose a lot, so that pruners have to look closely."""

    def top1_after(self, epoch: int) -> float:
        """Grows with the tokens that its network keeps and with every epoch, with noise, in percent."""
        pruning = self.config.pruning
        num_tokens = sum(pruning.schedule.plan(GEOMETRY, pruning.package, pruning.selector).block_tokens)
        share = num_tokens / (GEOMETRY.depth * (GEOMETRY.num_patches + 1))
        noise = Random(f"{num_tokens} {self.config.losses.ratio} {epoch}").gauss(0.0, 1.0)
        is_last = epoch == self.config.training.epochs
        return 40 + 20 * share - self.config.losses.ratio + 0.5 * epoch + (4.0 if is_last else 0.3) * noise


@dataclass(frozen=True, kw_only=True)
class Row:
    """A tenth of the trials of one search."""

    way: str
    num_trials: int
    num_reports: int
    rss_mib: float
    cpu_ms_per_suggestion: float
    cpu_ms_per_report: float
    cpu_ms_per_report_in_all: float
    seconds: float

    def to_text(self) -> str:
        """One line of the table."""
        return (
            f"{self.way:8}{self.num_trials:8}{self.num_reports:9}{self.rss_mib:10.1f}{self.cpu_ms_per_suggestion:12.1f}"
            f"{self.cpu_ms_per_report:10.2f}{self.cpu_ms_per_report_in_all:14.2f}{self.seconds:9.1f}"
        )


class Meter:
    """Adds up what the driver's process uses, and makes a row of it for every tenth of the trials."""

    def __init__(self, way: str, num_trials: int) -> None:
        self._way, self._each = way, max(1, num_trials // NUM_ROWS)
        self.rows: list[Row] = []
        self._num_ended = self.num_reports = 0
        self._begin()

    def _begin(self) -> None:
        self.suggesting_s = self.judging_s = 0.0
        self.num_suggested = self._num_judged = 0
        self._at_s, self._cpu_at_s = time.perf_counter(), time.process_time()

    @contextlib.contextmanager
    def suggesting(self) -> Iterator[None]:
        """The driver is asked for a trial, which may be none."""
        started_s = time.process_time()
        yield
        self.suggesting_s += time.process_time() - started_s

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """The driver is told of an epoch."""
        started_s = time.process_time()
        yield
        self.judging_s += time.process_time() - started_s
        self._num_judged += 1
        self.num_reports += 1

    def trial_ended(self) -> None:
        """One more trial has ended."""
        self._num_ended += 1
        if self._num_ended % self._each == 0:
            self._add_row()
            self._begin()

    def _add_row(self) -> None:
        row = Row(
            way=self._way,
            num_trials=self._num_ended,
            num_reports=self.num_reports,
            rss_mib=_rss_mib(),
            cpu_ms_per_suggestion=1e3 * self.suggesting_s / self._each,
            cpu_ms_per_report=1e3 * self.judging_s / max(1, self._num_judged),
            cpu_ms_per_report_in_all=1e3 * (time.process_time() - self._cpu_at_s) / max(1, self._num_judged),
            seconds=time.perf_counter() - self._at_s,
        )
        self.rows.append(row)
        print(row.to_text(), file=sys.stderr, flush=True)


def _rss_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024.0 for line in lines if line.startswith("VmRSS:"))


def _metered(meter: Meter) -> Callable[..., SearchDriver]:
    class MeteredDriver(SearchDriver):
        def suggest(self) -> Any:
            with meter.suggesting():
                return super().suggest()

        def on_result(self, number: int, report: Any) -> Any:
            with meter.judging():
                decision = super().on_result(number, report)
            if self._store.trial(number).state.is_finished:
                meter.trial_ended()
            return decision

    return MeteredDriver


def load(directory: Path, way: str, num_trials: int) -> list[Row]:
    """Searches in a folder, on Ray or alone."""
    from search.launcher import search
    from search.view import TerminalView

    meter = Meter(way, num_trials)
    tracker = MlflowTracker(directory / NAME, close_timeout_s=1800.0)
    with without_ray() if way == "alone" else contextlib.nullcontext():
        study = search(
            experiment(directory, epochs=EPOCHS, num_trials=num_trials, search=SURE),
            device(),
            listeners=[TerminalView(), tracker],
            trial_factory=LateSurprise,
            driver_type=_metered(meter),
        )
    assert len(study.trials) == num_trials + 1
    assert tracker._spool.is_drained
    return meter.rows


@dataclass(frozen=True, kw_only=True)
class Look:
    """One way to look at the finished study; a command's seconds are those of a process from its start to its end."""

    what: str
    seconds: float
    cpu_s: float


def look(directory: Path) -> list[Look]:
    """Looks at the study that a search left in a folder."""
    return [*(_command(directory, name) for name in COMMANDS), *_runs_in_mlflow(directory)]


def _command(directory: Path, name: str) -> Look:
    arguments = [sys.executable, "-m", "search.cli", name, NAME, "--runs-dir", str(directory)]
    before, started_s = os.times(), time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    after, seconds = os.times(), time.perf_counter() - started_s
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Look(what=f"spvit-search {name}", seconds=seconds, cpu_s=cpu_s)


def _runs_in_mlflow(directory: Path) -> list[Look]:
    """The page of the best runs, as MLflow's browser asks for it, and then every run."""
    from mlflow import MlflowClient

    client = MlflowClient(default_tracking_uri(directory))
    experiments = [found.experiment_id for found in client.search_experiments()]

    def search_runs(num_runs: int) -> Look:
        started_s, cpu_s = time.perf_counter(), time.process_time()
        runs = client.search_runs(experiments, order_by=["metrics.`top1` DESC"], max_results=num_runs)
        seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        return Look(what=f"MLflow: {len(runs)} runs, best first", seconds=seconds, cpu_s=cpu_s)

    client.search_runs(experiments, max_results=1)  # what only the first request takes
    return [search_runs(100), search_runs(50_000)]


def bars_of(rows: Sequence[Row], looks: Sequence[Look]) -> list[Bar]:
    """What the product promises of a study of a thousand trials."""
    bars = []
    for way in dict.fromkeys(row.way for row in rows):
        own = [row for row in rows if row.way == way]
        growth = own[-1].rss_mib / own[0].rss_mib
        bars += [
            Bar(name=f"{way}: memory, last tenth to first", value=growth, target=MAX_MEMORY_SHARE, is_ceiling=True),
            Bar(
                name=f"{way}: CPU ms to judge a report, last tenth",
                value=own[-1].cpu_ms_per_report,
                target=MAX_REPORT_CPU_MS,
                is_ceiling=True,
            ),
        ]
    return bars + [
        Bar(name=f"{each.what}, CPU s", value=each.cpu_s, target=MAX_LOOK_S, is_ceiling=True) for each in looks
    ]


def run_alone(way: str, num_trials: int) -> tuple[list[Row], list[Look]]:
    """One search, and the looks at it, in a process of its own: memory is then its alone."""
    found = json.loads(last_line(__file__, "--only", way, "--num-trials", num_trials, shows_progress=True))
    return [Row(**row) for row in found["rows"]], [Look(**row) for row in found["looks"]]


def run_here(way: str, num_trials: int, profile: Path | None) -> None:
    """As `run_alone`, in this process; prints what it found as JSON."""
    with tempfile.TemporaryDirectory(prefix="spvit-load-") as folder:
        with cProfile.Profile() if profile else contextlib.nullcontext() as profiler:
            rows = load(Path(folder), way, num_trials)
        if profile and profiler:
            profiler.dump_stats(profile)
        looks = look(Path(folder))
    print(json.dumps({"rows": [asdict(row) for row in rows], "looks": [asdict(each) for each in looks]}))


def main() -> int:
    options_parser = parser(__doc__ or "")
    options_parser.add_argument("--only", choices=WAYS, help="this one, in this process; prints JSON")
    options_parser.add_argument("--num-trials", type=int)
    options_parser.add_argument("--profile", type=Path, help="with --only: write cProfile's statistics here")
    options = options_parser.parse_args()
    num_trials = options.num_trials or (100 if options.quick else 1000)
    if options.only:
        run_here(options.only, num_trials, options.profile)
        return 0
    print(
        f"{'':8}{'trials':>8}{'reports':>9}{'RSS MiB':>10}{'ms/suggest':>12}{'ms/judge':>10}{'ms/report':>14}{'s':>9}"
    )
    rows: list[Row] = []
    for way in WAYS:
        own, looks = run_alone(way, num_trials)
        rows += own
    for each in looks:
        print(f"{each.what:36}{each.seconds:9.2f} s{each.cpu_s:9.2f} s of CPU")
    bars = bars_of(rows, looks)
    finish([asdict(row) for row in [*rows, *looks]], bars, options.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
