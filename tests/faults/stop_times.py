"""How long real searches take to end when they are told to: DIRECTORY NUM_SEARCHES. Goes on where it was stopped.

Each search runs on Ray and is told to MLflow, as a user's. Every second one gets SIGTERM, the others SIGINT, once:
while Ray starts, within short epochs, or within ones that would take minutes. `stops.jsonl` gets a line for each, of
which `report_card.py` makes a table.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "search"), str(HERE.parent / "integration"), str(HERE.parents[1])]

import plans  # noqa: E402
from command_line import give_mlflow_database  # noqa: E402
from harness import Session, found, wait_until  # noqa: E402

from search.records import TrialState  # noqa: E402

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LONG_S = 300.0
NUM_TRIALS = 50
RAY_LOG = "ray.log"
"""What sessions with Ray write to stderr."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """When a search is told to end.

    Attributes:
        number: which signal.
        epoch_s: how long an epoch takes.
        epoch: after so many epochs have begun; 0: as soon as there is a study, while Ray starts.
        delay_s: and so long after that.
    """

    number: signal.Signals
    epoch_s: float
    epoch: int
    delay_s: float


def plan(seed: int) -> Plan:
    """A function of one number: signals take turns, and so do moments within each signal's searches."""
    chance, number = random.Random(seed), SIGNALS[seed % 2]
    match seed // 2 % 5:
        case 0:
            return Plan(number=number, epoch_s=0.3, epoch=0, delay_s=chance.uniform(0.0, 8.0))
        case 1 | 2:
            return Plan(number=number, epoch_s=LONG_S, epoch=2, delay_s=chance.uniform(0.0, 3.0))
        case _:
            return Plan(number=number, epoch_s=0.3, epoch=chance.randint(1, 12), delay_s=chance.uniform(0.0, 0.6))


def stopped(folder: Path, seed: int) -> dict[str, object]:
    """A search that is told to end once, and how it did."""
    chosen = plan(seed)
    known = plans.order(folder, 0)
    order = replace(known, num_trials=NUM_TRIALS, num_concurrent=2, epoch_s=chosen.epoch_s, is_tracked=True)
    give_mlflow_database(Path(order.folder) / order.directory)
    session = Session(order, with_ray=True)
    wait_until(lambda: session.code is not None or found(order) is not None)
    session.wait_for_epoch(chosen.epoch)
    time.sleep(chosen.delay_s)
    num_begun, told_s = session.num_begun, time.monotonic()
    session.send(chosen.number)
    code = session.end()
    seconds = time.monotonic() - told_s
    study = found(order)
    said = (Path(order.folder) / RAY_LOG).read_text(errors="replace")
    return {
        "seed": seed,
        **asdict(chosen),
        "number": chosen.number.name,
        "num_begun": num_begun,
        "code": code,
        "seconds": seconds,
        "at_once": "stopped at once" in said,
        "left_running": 0 if study is None else sum(t.state is TrialState.RUNNING for t in study.trials),
        "said": said[-300:],
    }


def main() -> None:
    directory, num_searches = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    results = directory / "stops.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in sorted(set(range(num_searches)) - {line["seed"] for line in lines}):
        folder = directory / f"stop-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        line = stopped(folder, seed)
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        time.sleep(3.0)  # Ray's processes, which end with the search, are not to be in the next one's way


if __name__ == "__main__":
    main()
