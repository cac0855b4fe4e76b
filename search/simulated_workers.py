"""Plays the workers of a search: trials side by side in simulated time, which costs none. Knows no Ray."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.driver import Decision, SearchDriver
from search.records import TrialRecord

Report = Callable[[TrialRecord, int], Mapping[str, Any]]
"""What a trial reports after an epoch, counted from 1: see `SearchDriver.on_result`."""
EpochSeconds = Callable[[TrialRecord, int], float]
"""How long that epoch takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """When a trial ran, in simulated seconds from the search's start.

    `num_epochs_so_far` were finished by all trials together when it ended.
    """

    number: int
    started_s: float
    ended_s: float
    num_epochs_so_far: int


@dataclass(kw_only=True, slots=True)
class SimulatedWorkers:
    """As many workers as the driver lets run at once, none of which ever waits for another.

    The order is that of simulated time: of epochs that end at the same moment the one of the earlier trial comes first.

    Attributes:
        report: what trials report.
        epoch_s: how long their epochs take.
        max_reports: after which everybody falls silent, as if the driver died.
    """

    report: Report
    epoch_s: EpochSeconds
    max_reports: int | None = None
    now_s: float = 0.0
    num_reports: int = 0
    spans: list[Span] = field(default_factory=list)
    _due: list[tuple[float, int, int]] = field(default_factory=list)
    _running: dict[int, tuple[TrialRecord, float]] = field(default_factory=dict)

    def run(self, driver: SearchDriver) -> tuple[Span, ...]:
        """Runs trials until the driver has no more, or is stopped. Returns those that ended, in the order of ends."""
        self._start_trials(driver)
        while self._due and not driver.is_stopping and self.num_reports != self.max_reports:
            self.now_s, number, epoch = heapq.heappop(self._due)
            self._finish_epoch(driver, number, epoch)
            self._start_trials(driver)
        return tuple(self.spans)

    def _start_trials(self, driver: SearchDriver) -> None:
        while isinstance(trial := driver.suggest(), TrialRecord):
            self._running[trial.number] = (trial, self.now_s)
            self._begin_epoch(trial, trial.num_epochs + 1)

    def _begin_epoch(self, trial: TrialRecord, epoch: int) -> None:
        heapq.heappush(self._due, (self.now_s + self.epoch_s(trial, epoch), trial.number, epoch))

    def _finish_epoch(self, driver: SearchDriver, number: int, epoch: int) -> None:
        trial, started_s = self._running[number]
        self.num_reports += 1
        if driver.on_result(number, self.report(trial, epoch)) is Decision.CONTINUE:
            self._begin_epoch(trial, epoch + 1)
            return
        driver.on_complete(number)
        del self._running[number]
        self.spans.append(
            Span(number=number, started_s=started_s, ended_s=self.now_s, num_epochs_so_far=self.num_reports)
        )
