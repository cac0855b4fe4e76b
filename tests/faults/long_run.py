"""Hundreds of faults, one after the other, each from its own seed: DIRECTORY MINUTES [KIND ...].

After so many minutes no further search is begun; the next call goes on. `results.jsonl` gets a line for each search,
of which `report_card.py` makes the report card.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "search"), str(HERE.parent / "integration"), str(HERE.parents[1])]

import plans  # noqa: E402
import steps  # noqa: E402
from command_line import give_mlflow_database  # noqa: E402
from harness import Blow, disturbed, undisturbed_search  # noqa: E402
from judging import Tally  # noqa: E402
from takeover import contest  # noqa: E402

from search.records import StudyRecord  # noqa: E402

NUM_SEARCHES = {"killed": 80, "stopped": 16, "full_disk": 16, "broken_disk": 12, "taken_over": 12, "ray": 4}
KILLS_PER_SEARCH = 5
Job = Callable[[Path], Tally]


def jobs(undisturbed: Callable[[], StudyRecord]) -> Iterator[tuple[str, int, Job]]:
    """Kind and seed of each search, and what to do with its folder. The undisturbed search is asked for if needed."""

    def hit(blows: Callable[[int], list[Blow]]) -> Callable[[Path, int], Tally]:
        return lambda folder, seed: disturbed(plans.order(folder, seed), blows(seed), undisturbed())

    kinds = {
        "killed": hit(lambda seed: plans.kills(seed, KILLS_PER_SEARCH)),
        "stopped": hit(lambda seed: [plans.stops(seed)]),
        "full_disk": hit(lambda seed: [plans.full_disk(seed)]),
        "broken_disk": hit(lambda seed: [plans.broken_disk(seed)]),
        "taken_over": lambda folder, seed: contest(plans.order(folder, seed), seed, undisturbed()),
        "ray": with_ray,
    }
    yield (
        "saving",
        0,
        lambda folder: steps.every(
            steps.save_points(folder / "whole"), lambda point: steps.killed_save(folder / "save", point)
        ),
    )
    yield (
        "exporting",
        0,
        lambda folder: steps.every(steps.export_points(folder), lambda point: steps.killed_export(folder, point)),
    )
    # Whoever stops early has some of each kind.
    in_turn = sorted(
        (share, kind, seed)
        for kind, number in NUM_SEARCHES.items()
        for seed, share in enumerate((index + 0.5) / number for index in range(number))
    )
    for _, kind, seed in in_turn:
        yield kind, seed, lambda folder, kind=kind, seed=seed: kinds[kind](folder, seed)  # type: ignore[misc]


def with_ray(folder: Path, seed: int) -> Tally:
    """A search of two trials at a time on real Ray, told to MLflow; drivers and a worker are killed."""
    order = replace(plans.order(folder, 0), num_concurrent=2, epoch_s=0.3, is_tracked=True)
    give_mlflow_database(Path(order.folder) / order.directory)
    return disturbed(order, plans.ray_blows(seed), with_ray=True)


def main() -> None:
    directory, until_s = Path(sys.argv[1]).resolve(), time.monotonic() + 60 * float(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    results, wanted = directory / "results.jsonl", set(sys.argv[3:])
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(line["kind"], line["seed"]) for line in lines}
    shutil.rmtree(directory / "undisturbed", ignore_errors=True)
    for kind, seed, run in jobs(cache(lambda: undisturbed_search(directory / "undisturbed" / "search"))):
        if (kind, seed) in done or (wanted and kind not in wanted):
            continue
        if time.monotonic() > until_s:
            print(f"{sys.argv[2]} minutes are over; the next run goes on")
            return
        folder = directory / f"{kind}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        begun_s = time.monotonic()
        tally = run(folder)
        with results.open("a") as file:
            values = {"kind": kind, "seed": seed, "seconds": time.monotonic() - begun_s, **asdict(tally)}
            file.write(json.dumps(values) + "\n")
        print(f"{kind} {seed}: {tally.faults} faults, {'; '.join(tally.violations) or 'nothing violated'}", flush=True)
        if not tally.violations:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
