"""Seeded plans: what befalls a search, as a function of one number, so that it can be had again."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from faulty_search import Order
from harness import Blow, Target

from spvit.errors import ExitCode

STEPS = {"pwrite64": 120, "fsync": 60, "openat": 400, "write": 60, "rename": 25, "unlinkat": 30, "mkdir": 30}
"""Steps of the system at which a driver is killed, and how many of each there are at least in most sessions."""


def kills(seed: int, number: int) -> list[Blow]:
    """Ways to kill a driver: within an epoch, between two, while it starts, or at a step of the system."""
    chance = random.Random(seed)
    return [_kill(chance) for _ in range(number)]


def _kill(chance: random.Random) -> Blow:
    kind = chance.random()
    if kind < 0.3:
        call = chance.choice([*STEPS])
        return Blow(inject=f"signal=KILL:when={chance.randint(1, STEPS[call])}", trace=call)
    if kind < 0.5:  # while it recovers from the kill before
        return Blow(epoch=0, delay_s=chance.uniform(0.0, 0.3))
    return Blow(epoch=chance.randint(1, 6), delay_s=chance.uniform(0.0, 0.06))


def stops(seed: int) -> Blow:
    """SIGTERM or SIGINT, once or twice, at a seeded moment."""
    chance = random.Random(seed)
    number = chance.choice([signal.SIGTERM, signal.SIGINT])
    return Blow(
        epoch=chance.randint(1, 6),
        delay_s=chance.uniform(0.0, 0.06),
        signals=(number,) * chance.choice([1, 1, 2]),
        codes=(int(ExitCode.STOPPED),),
    )


def full_disk(seed: int) -> Blow:
    """From a seeded write of the study on there is no space for any."""
    step = random.Random(seed).randint(1, STEPS["pwrite64"])
    return Blow(inject=f"error=ENOSPC:when={step}+", trace="pwrite64", codes=(int(ExitCode.STORAGE),))


def broken_disk(seed: int) -> Blow:
    """A seeded request to put a file on the disk fails."""
    step = random.Random(seed).randint(1, STEPS["fsync"])
    return Blow(inject=f"error=EIO:when={step}", trace="fsync,fdatasync", codes=(int(ExitCode.STORAGE),))


def ray_blows(seed: int) -> list[Blow]:
    """For a search with Ray: drivers killed while it starts and later, and in the last session a worker."""
    chance = random.Random(seed)
    drivers = [Blow(epoch=chance.randint(1, 8), delay_s=chance.uniform(0.0, 0.6)) for _ in range(2)]
    if seed % 2:
        drivers.insert(1, Blow(epoch=0, delay_s=chance.uniform(2.0, 15.0)))
    worker = Blow(epoch=chance.randint(1, 4), delay_s=chance.uniform(0.0, 0.3), target=Target.WORKER, codes=(0,))
    return [*drivers, worker]


def order(folder: Path, seed: int) -> Order:
    """A folder for a search, whose directory is written in one of the ways in which users write it."""
    place = folder / ("with a space" if seed % 4 == 3 else "search")
    place.mkdir(parents=True)
    (place / "runs").mkdir()
    written = {0: "runs", 1: str(place / "runs"), 2: "link", 3: "./runs"}[seed % 4]
    if written == "link":
        (place / "link").symlink_to(place / "runs")
    return Order(folder=str(place), directory=written)
