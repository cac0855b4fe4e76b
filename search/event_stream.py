"""A search as events for a script: one JSON document per line. docs/events.md says what each holds."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from enum import StrEnum
from typing import Any, TextIO

from search.listener import StudyListener
from search.plain_json import plain
from search.progress_state import ProgressState, planned_epochs
from search.records import Rejection, StudyRecord, TrialRecord
from search.selection import front_trials, keep_rates
from search.summary import study_hypervolume

SCHEMA = 1
LOGGER = logging.getLogger(__name__)


class Event(StrEnum):
    """What a line tells."""

    STUDY_START = "study_start"
    TRIAL_START = "trial_start"
    EPOCH = "epoch"
    TRIAL_END = "trial_end"
    REJECTION = "rejection"
    FRONT = "front"
    STUDY_END = "study_end"
    RESULT = "result"


class EventStream(StudyListener):
    """Writes a line for every event, at once. A reader that goes away does not disturb the search.

    Args:
        stream: where to.
        clock: seconds; only differences count.
        now: seconds since 1970, written with each event.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stream, self._clock, self._now = stream, clock, now
        self._state: ProgressState | None = None
        self._front: tuple[int, ...] = ()

    def on_study_start(self, study: StudyRecord) -> None:
        """What is searched for, and what earlier sessions found."""
        self._state = ProgressState.begin(study, self._clock())
        self._write(Event.STUDY_START, _study_document(study, self._state.num_ended))
        self._tell_front()

    def on_rejections(self, rejections: Mapping[Rejection, int]) -> None:
        """Proposals were rejected before any training."""
        before: Mapping[Rejection, int] = {} if self._state is None else self._state.study.rejections
        new = {reason: rejections.get(reason, 0) - before.get(reason, 0) for reason in Rejection}
        if self._state is not None:
            self._state = self._state.with_rejections(rejections)
        totals = {reason: rejections.get(reason, 0) for reason in Rejection}
        self._write(Event.REJECTION, {"new": new, "total": totals})

    def on_trial_start(self, trial: TrialRecord) -> None:
        """A trial began."""
        study = self._note(trial)
        planned = None if study is None else planned_epochs(trial, study)
        self._write(Event.TRIAL_START, _trial_document(trial) | {"num_planned_epochs": planned})

    def on_epoch(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        self._note(trial)
        remaining_s = None if self._state is None else self._state.remaining_s(self._clock())
        document = {"trial": trial.number, "metrics": metrics, "remaining_s": remaining_s}
        self._write(Event.EPOCH, {"epoch": trial.num_epochs, "top1": trial.curve[-1], **document})

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A trial ended; the front may have changed."""
        self._note(trial)
        ended = {"state": trial.state, "top1": trial.top1, "num_epochs": trial.num_epochs, "reason": trial.reason}
        self._write(Event.TRIAL_END, {"trial": trial.number, **ended})
        if trial.is_model:
            self._tell_front()

    def on_study_end(self, study: StudyRecord) -> None:
        """Nothing is running any more."""
        end = None if study.end is None else asdict(study.end)
        self._write(Event.STUDY_END, {"study": study.name, "end": end})

    def _note(self, trial: TrialRecord) -> StudyRecord | None:
        if self._state is None:
            return None
        self._state = self._state.with_trial(trial)
        return self._state.study

    def _tell_front(self) -> None:
        if self._state is None:
            return
        study = self._state.study
        front = front_trials(study)
        numbers = tuple(trial.number for trial in front)
        if numbers == self._front:
            return
        self._front = numbers
        points = [{"trial": t.number, "top1": t.top1, "latency_ms": t.latency.mean_ms} for t in front]
        self._write(Event.FRONT, {"points": points, "hypervolume": study_hypervolume(study), "best": self._best()})

    def _best(self) -> list[dict[str, Any]]:
        state = self._state
        if state is None:
            return []
        best = [(limit_ms, state.best(limit_ms)) for limit_ms in state.study.budgets_ms]
        return [{"max_latency_ms": limit, "trial": None if trial is None else trial.number} for limit, trial in best]

    def _write(self, event: Event, document: Mapping[str, Any]) -> None:
        with suppress(OSError, ValueError):  # a pipe that nobody reads, or a stream that was closed
            self._stream.write(event_line(event, document, now_s=self._now()))
            self._stream.flush()


def event_line(event: Event, document: Mapping[str, Any], *, now_s: float) -> str:
    """One event as its line."""
    return json.dumps({"event": event.value, "time": now_s} | plain(document)) + "\n"


def _study_document(study: StudyRecord, num_ended: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "study": study.name,
        "directory": study.directory,
        "num_trials": study.num_trials,
        "num_ended": num_ended,
        "num_epochs": study.num_epochs,
        "budgets_ms": study.budgets_ms,
        "dense_latency_ms": study.dense_latency.mean_ms,
        "dense_top1": study.dense_top1,
    }


def _trial_document(trial: TrialRecord) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "origin": trial.origin,
        "label": trial.label,
        "retry_of": trial.retry_of,
        "num_epochs": trial.num_epochs,
        "latency_ms": trial.latency.mean_ms,
        "latency_low_ms": trial.latency.low_ms,
        "latency_high_ms": trial.latency.high_ms,
        "keep_rates": keep_rates(trial),
        "params": trial.params,
    }
