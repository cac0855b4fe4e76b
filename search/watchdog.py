"""Finds trials that say nothing for longer than an epoch can take. Pure but for the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Stuck:
    """A trial that is to be given up, and why in words."""

    number: int
    reason: str


class Watchdog:
    """Watches the trials of one session from when their workers begin.

    A trial may be silent for `factor` times the slowest epoch that the study has seen, loading its model included, and
    for `floor_s` in any case. Before a first epoch is known, `floor_s` stands for it.

    Args:
        factor: `search.stuck_factor`.
        floor_s: `search.stuck_floor_s`.
        clock: seconds; only differences count.
    """

    def __init__(self, *, factor: float, floor_s: float, clock: Callable[[], float]) -> None:
        self._factor, self._floor_s, self._clock = factor, floor_s, clock
        self._slowest_s = 0.0
        self._heard_s: dict[int, float] = {}

    def learn(self, epoch_s: float) -> None:
        """An epoch has taken so long."""
        self._slowest_s = max(self._slowest_s, epoch_s)

    def begin(self, number: int) -> None:
        """A trial's worker has begun. Saying so again changes nothing."""
        self._heard_s.setdefault(number, self._clock())

    def report(self, number: int) -> None:
        """A trial has reported an epoch."""
        now_s = self._clock()
        if number in self._heard_s:
            self.learn(now_s - self._heard_s[number])
        self._heard_s[number] = now_s

    def end(self, number: int) -> None:
        """A trial has ended: nothing more is expected of it."""
        self._heard_s.pop(number, None)

    @property
    def limit_s(self) -> float:
        """How long a trial may be silent now."""
        return max(self._floor_s, self._factor * (self._slowest_s or self._floor_s))

    def stuck(self) -> tuple[Stuck, ...]:
        """The trials that have been silent for too long."""
        now_s, limit_s = self._clock(), self.limit_s
        return tuple(
            Stuck(number=number, reason=self._reason(now_s - heard_s, limit_s))
            for number, heard_s in self._heard_s.items()
            if now_s - heard_s > limit_s
        )

    def _reason(self, silent_s: float, limit_s: float) -> str:
        return (
            f"stuck: no report for {silent_s:.0f} s, more than the {limit_s:.0f} s that search.stuck_factor = "
            f"{self._factor:g} and search.stuck_floor_s = {self._floor_s:g} allow"
        )
