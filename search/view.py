"""Shows how a search goes: a live display on a terminal, one line per event elsewhere. On stderr; never raises."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.console import LastingConsole
from search.listener import StudyListener
from search.progress_state import ProgressState, duration, planned_epochs
from search.records import StudyRecord, TrialRecord, TrialState
from search.retries import IN_ORDER
from search.selection import keep_rates

LOGGER = logging.getLogger(__name__)
BAR_WIDTH = 20
ENDED = {TrialState.COMPLETE: "trained in full", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
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
    """Running trials with their epochs, counts, the best trial so far, elapsed time and forecast.

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
            f"study {study.name}: {study.num_trials} trials, {_budgets(study)} ms "
            f"(dense model: {study.dense_latency.mean_ms:.3g} ms)"
        )
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)
            self._live.start()

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
        self._say(_ended_line(trial))

    @_silently
    def on_study_end(self, study: StudyRecord) -> None:
        """Close the display and say how it ended."""
        self._stop()
        if self._state is not None:
            last = ProgressState(study=study, started_s=self._state.started_s)
            self._say(f"{self._how_it_ended(last)}: {_counts(last)}; best {_best(last, study.max_latency_ms)}")

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
        return Text("\n".join(status_lines(self._state, self._clock())))


def status_lines(state: ProgressState, now_s: float) -> list[str]:
    """The live display as lines of text."""
    remaining_s = state.remaining_s(now_s)
    forecast = "" if remaining_s is None else f", about {duration(remaining_s)} left"
    return [
        *(_running_line(trial, state.study) for trial in state.running),
        f"{state.num_ended} of {state.study.num_trials} trials: {_counts(state)}",
        *(f"best under {limit_ms:.3g} ms: {_best(state, limit_ms)}" for limit_ms in state.study.budgets_ms),
        f"{duration(now_s - state.started_s)} elapsed{forecast}",
    ]


def _running_line(trial: TrialRecord, study: StudyRecord) -> str:
    planned = planned_epochs(trial, study)
    filled = BAR_WIDTH * min(trial.num_epochs, planned) // planned
    bar = "█" * filled + "░" * (BAR_WIDTH - filled)
    top1 = f"  {trial.curve[-1]:.2f} %" if trial.curve else ""
    return f"trial {trial.number:>3}  {bar}  epoch {trial.num_epochs}/{planned}  {trial.latency.mean_ms:.2f} ms{top1}"


def _ended_line(trial: TrialRecord) -> str:
    rates = ", ".join(f"{rate:.2f}" for rate in keep_rates(trial)) or "dense"
    top1 = trial.top1 if trial.top1 is not None else trial.curve[-1] if trial.curve else None
    accuracy = "" if top1 is None else f" {top1:.2f} % at"
    label = f" ({trial.label})" if trial.label else ""
    latency = f"{trial.latency.mean_ms:.2f} ms"
    return f"trial {trial.number}{label} keep {rates}:{accuracy} {latency}, {_how(trial)}"


def _how(trial: TrialRecord) -> str:
    """How a trial ended. An interrupted one did not fail: it goes on when the search is resumed."""
    if trial.failure in IN_ORDER:
        return trial.reason
    return f"{ENDED[trial.state]}: {trial.reason}" if trial.reason else ENDED[trial.state]


def _counts(state: ProgressState) -> str:
    numbers = {name: state.count(kind) for kind, name in ENDED.items()}
    if interrupted := sum(trial.failure in IN_ORDER for trial in state.study.trials):
        numbers[ENDED[TrialState.FAIL]] -= interrupted
        numbers["interrupted"] = interrupted
    counts = ", ".join(f"{number} {name}" for name, number in numbers.items())
    rejected = sum(state.study.rejections.values())
    return f"{counts}, {rejected} proposals rejected" if rejected else counts


def _why(study: StudyRecord) -> str:
    return "" if study.end is None else f" ({study.end.reason})"


def _budgets(study: StudyRecord) -> str:
    noun = "budgets" if study.smaller_budgets_ms else "budget"
    return f"{noun} {', '.join(f'{limit_ms:.3g}' for limit_ms in study.budgets_ms)}"


def _best(state: ProgressState, max_latency_ms: float) -> str:
    best = state.best(max_latency_ms)
    return "none yet" if best is None else f"{best.top1:.2f} % at {best.latency.mean_ms:.2f} ms (trial {best.number})"
