"""What a search loses where MLflow's server is away: trials per second with it up, away all the time, and dying midway.

Trials report three epochs and do nothing else, one after the other in the driver's process: what is left of their time
is the driver's own, so that nothing hides what an outage costs. Each search is a process of its own with a real
`mlflow server`; in each round every way is run once, in an order that turns. Losses are medians of the rounds' ratios
to the search of the same round whose server is up. CPU is that of the driver's process, all threads.

    python benchmarks/outage.py [--quick] [--json FILE]
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bars import Bar, finish, parser
from benchmarks.noop import NAME, NoTraining, Watch, device, experiment, listener, without_ray

EPOCHS = 3
MAX_LOSS_PERCENT = 2.0
START_LIMIT_S = 120.0


class Server(StrEnum):
    """How the server fares during a search; `NONE` is a search that is not tracked at all."""

    UP = "up"
    AWAY = "away the whole time"
    DIES = "dies in the middle"
    NONE = "not tracked"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One search: trials per second and CPU from the first trial's start to the last one's end."""

    server: Server
    round: int
    per_second: float
    cpu_ms_per_trial: float


@contextlib.contextmanager
def mlflow_at(server: Server, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """An address, at which there is a server or none, and what ends that."""
    from search.commands.dashboard import mlflow_server
    from search.commands.local_server import free_port

    port = free_port()
    if server is Server.AWAY:
        yield f"http://127.0.0.1:{port}", lambda: None
        return
    with contextlib.chdir(folder), mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", port) as (process, base):
        yield base, lambda: os.killpg(process.pid, signal.SIGKILL)


def at_half_time(tracker: Any, num_trials: int, act: Callable[[], None]) -> Any:
    """Begins when the process that writes to MLflow has reached it, or said that it cannot; acts at half time."""
    from search.listener import StudyListener

    class HalfTime(StudyListener):
        num_ended = 0

        def on_study_start(self, study: Any) -> None:
            del study
            deadline_s = time.monotonic() + START_LIMIT_S
            while tracker.experiment_id is None and not tracker._has_failed:
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
                tracker._attend()

        def on_trial_end(self, trial: Any) -> None:
            del trial
            self.num_ended += 1
            if self.num_ended == num_trials // 2:
                act()

    return HalfTime()


def measure(server: Server, num_trials: int, round_: int) -> Row:
    """One search, in this process."""
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="spvit-outage-") as folder:
        if server is Server.NONE:
            run(Path(folder), num_trials, [listener(watch)])
        else:
            run_tracked(server, Path(folder), num_trials, watch)
    return Row(
        server=server,
        round=round_,
        per_second=watch.num_ended / watch.loop_s,
        cpu_ms_per_trial=1e3 * (watch.cpu_at_end_s - watch.cpu_at_start_s) / watch.num_ended,
    )


def run_tracked(server: Server, folder: Path, num_trials: int, watch: Watch) -> None:
    """A search that an MLflow server is told of, as far as it is there: everything, nothing, or the first half."""
    from search.tracking import MlflowTracker

    with mlflow_at(server, folder) as (uri, kill):
        tracker = MlflowTracker(folder / NAME, uri=uri, close_timeout_s=600.0)
        half_time = at_half_time(tracker, num_trials, kill if server is Server.DIES else lambda: None)
        run(folder, num_trials, [listener(watch), tracker, half_time])
    assert tracker._spool.is_drained == (server is Server.UP)
    assert (tracker.experiment_id is None) == (server is Server.AWAY)


def run(folder: Path, num_trials: int, listeners: list[Any]) -> None:
    """A search whose proposals cost next to nothing."""
    from search.launcher import search

    settings = {"sampler": "random", "pruner": "none"}
    config = experiment(folder, epochs=EPOCHS, num_trials=num_trials, search=settings)
    with without_ray():
        study = search(config, device(), listeners=listeners, trial_factory=NoTraining)
    assert len(study.finished) == num_trials + 1


def measure_alone(server: Server, num_trials: int, round_: int) -> Row:
    """One search in a process of its own."""
    command = [sys.executable, __file__, "--only", server, "--num-trials", str(num_trials), "--round", str(round_)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{server}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    values = json.loads(done.stdout.splitlines()[-1])
    return Row(**values | {"server": Server(values["server"])})


def loss_percent(rows: list[Row], server: Server) -> float:
    """By how much fewer trials a second a search gets through than one with its server up: the median of the rounds."""
    rates = {(row.server, row.round): row.per_second for row in rows}
    losses = [100 * (1 - rates[server, r] / rates[Server.UP, r]) for r in {row.round for row in rows}]
    return statistics.median(losses)


def main() -> int:
    options_parser = parser(__doc__ or "")
    options_parser.add_argument("--only", choices=[*Server], help="this one, in this process; prints its row")
    options_parser.add_argument("--num-trials", type=int)
    options_parser.add_argument("--round", type=int, default=0)
    options = options_parser.parse_args()
    num_trials, num_rounds = (60, 1) if options.quick else (300, 7)
    if options.only:
        print(json.dumps(asdict(measure(Server(options.only), options.num_trials or num_trials, options.round))))
        return 0
    servers, rows = list(Server), list[Row]()
    for number in range(num_rounds):
        for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
            rows.append(row := measure_alone(server, options.num_trials or num_trials, number))
            print(f"round {number + 1}  {server:22}{row.per_second:8.1f} trials/s", flush=True)
    print(f"\n{'MLflow':22}{'trials/s':>10}{'loss %':>9}{'CPU ms/trial':>14}   (medians of {num_rounds})")
    for server in servers:
        own = [row for row in rows if row.server is server]
        rate, cpu_ms = (statistics.median(getattr(r, key) for r in own) for key in ("per_second", "cpu_ms_per_trial"))
        print(f"{server:22}{rate:10.1f}{loss_percent(rows, server):9.2f}{cpu_ms:14.2f}")
    bars = [
        Bar(
            name=f"loss in percent, MLflow {server}",
            value=loss_percent(rows, server),
            target=MAX_LOSS_PERCENT,
            is_ceiling=True,
        )
        for server in (Server.AWAY, Server.DIES)
    ]
    finish([asdict(row) for row in rows], bars, options.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
