"""Shows how a search goes: a live display on a terminal, one line per event elsewhere. On stderr; never raises."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.console import LastingConsole
from search.listener import StudyListener
from search.progress_state import ProgressState, duration
from search.records import Rejection, StudyRecord, TrialRecord
from search.view_lines import best_text, budgets_text, counts_text, ended_line, status_lines

LOGGER = logging.getLogger(__name__)
P = ParamSpec("P")


def _silently(hook: Callable[Concatenate[TerminalView, P], None]) -> Callable[Concatenate[TerminalView, P], None]:
    """A terminal that went away must not disturb the search."""

    @wraps(hook)
    def guarded(self: TerminalView, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception:
            LOGGER.debug("the display failed", exc_info=True)

    return guarded


class TerminalView(StudyListener):
    """Running trials with their epochs, counts and reasons, the best trial and the front so far, and a forecast.

    Args:
        console: where to; stderr if absent.
        clock: seconds; only differences count.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or LastingConsole(stderr=True)
        self._clock = clock
        self._state: ProgressState | None = None
        self._live: Live | None = None
        self._has_trials = False

    @_silently
    def on_study_start(self, study: StudyRecord) -> None:
        """Say what begins; open the display on a terminal."""
        self._state = ProgressState.begin(study, self._clock())
        self._say(
            f"study {study.name}: {study.num_trials} trials, {budgets_text(study)} ms "
            f"(dense model: {study.dense_latency.mean_ms:.3g} ms)"
        )
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)
            self._live.start()

    @_silently
    def on_rejections(self, rejections: Mapping[Rejection, int]) -> None:
        """More proposals were rejected."""
        if self._state is not None:
            self._state = self._state.with_rejections(rejections)

    @_silently
    def on_trial_start(self, trial: TrialRecord) -> None:
        """A trial joins the running ones."""
        self._update(trial)

    @_silently
    def on_epoch(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:  # noqa: ARG002 - the trial says it
        """A trial's bar grows."""
        self._update(trial)

    @_silently
    def on_trial_end(self, trial: TrialRecord) -> None:
        """One line for each trial that ended; it stays above the display."""
        self._update(trial)
        self._say(ended_line(trial))

    @_silently
    def on_study_end(self, study: StudyRecord) -> None:
        """Close the display and say how it ended."""
        self._stop()
        if self._state is not None:
            last = ProgressState(study=study, started_s=self._state.started_s)
            self._say(f"{self._how_it_ended(last)}: {counts_text(last)}; best {best_text(last, study.max_latency_ms)}")

    @_silently
    def close(self) -> None:
        """Give the terminal back."""
        self._stop()

    def _how_it_ended(self, last: ProgressState) -> str:
        is_over = last.num_ended >= last.study.num_trials or (last.study.end is not None and last.study.end.is_final)
        if not self._has_trials and is_over:
            return f"nothing was left to do, the study is finished{_why(last.study)}; a larger limit goes on"
        return f"search ended after {duration(self._clock() - last.started_s)}{_why(last.study)}"

    def _update(self, trial: TrialRecord) -> None:
        self._has_trials = True
        if self._state is not None:
            self._state = self._state.with_trial(trial)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> Text:
        if self._state is None:
            return Text("")
        return Text("\n".join(status_lines(self._state, self._clock(), datetime.now().astimezone())))


def _why(study: StudyRecord) -> str:
    return "" if study.end is None else f" ({study.end.reason})"
