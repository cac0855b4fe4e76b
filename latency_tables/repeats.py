"""Rounds until every row is precise enough or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from latency_tables.allowance import Allowance
from latency_tables.clock import Work
from latency_tables.ratio import RatioEstimate
from latency_tables.rounds import Rounds

FEWEST_ROUNDS = 3
"""Samples of a row even when the time is up: fewer have no interval worth the name."""

FEWEST_TO_JUDGE = 8
"""Samples before an interval is believed: that of fewer is too narrow as often as not."""

_ROUNDS_PER_LOOK = 4

More = Callable[[Rounds], dict[str, Work]]
OnLook = Callable[[float, int, int], None]
"""Told the share of the allowance that is spent, how many rows are done, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """When to stop: rows at this relative half-width or this many samples, or so many seconds of the allowance."""

    precision: float
    max_rounds: int
    until_s: float

    def is_met(self, estimate: RatioEstimate) -> bool:
        """Whether a row needs no more samples."""
        return estimate.num_samples >= self.max_rounds or self.is_reached(estimate)

    def is_reached(self, estimate: RatioEstimate) -> bool:
        """Whether a row is as precise as it should be."""
        half_width = (estimate.high - estimate.low) / 2.0
        return estimate.num_samples >= FEWEST_TO_JUDGE and half_width <= self.precision * estimate.median


def repeat(
    rounds: Rounds,
    goal: Goal,
    allowance: Allowance,
    *,
    more: More = lambda _: {},
    on_look: OnLook = lambda _share, _done, _total: None,
) -> None:
    """Take samples until the goal is met. Rows that are precise are left alone; the others keep a shuffled order.

    Args:
        rounds: what to repeat.
        goal: when to stop.
        allowance: the time; a round that would exceed the goal's share of it is not begun.
        more: asked at every look for work to add, with every row sampled at least `FEWEST_TO_JUDGE` times.
        on_look: told how far it is.
    """
    start_s = allowance.spent_s
    open_rows = list(rounds.names)
    while open_rows:
        if not _run(rounds, open_rows, goal, allowance):
            break
        open_rows = _open(rounds, goal)
        if all(rounds.num_samples(name) >= FEWEST_TO_JUDGE for name in rounds.names):
            added = more(rounds)
            rounds.add(added)
            open_rows += added
        share = (allowance.spent_s - start_s) / max(goal.until_s - start_s, 1e-9)
        on_look(min(1.0, share), len(rounds.names) - len(open_rows), len(rounds.names))
    _complete(rounds, min(FEWEST_ROUNDS, goal.max_rounds))
    on_look(1.0, len(rounds.names) - len(_open(rounds, goal)), len(rounds.names))


def _run(rounds: Rounds, names: list[str], goal: Goal, allowance: Allowance) -> bool:
    """A few rounds; whether there is time for more."""
    for _ in range(_ROUNDS_PER_LOOK):
        started = time.perf_counter()
        rounds.run([name for name in names if rounds.num_samples(name) < goal.max_rounds])
        if allowance.spent_s + time.perf_counter() - started > goal.until_s:
            return False
    return True


def _open(rounds: Rounds, goal: Goal) -> list[str]:
    rounds.pause()  # estimating takes a while
    return [name for name in rounds.names if not goal.is_met(rounds.estimate(name))]


def _complete(rounds: Rounds, fewest: int) -> None:
    while lacking := [name for name in rounds.names if rounds.num_samples(name) < fewest]:
        rounds.run(lacking)
