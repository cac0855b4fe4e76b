"""How a search goes, as lines of text. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from search.progress_state import ProgressState, duration, planned_epochs
from search.records import Rejection, StudyRecord, TrialRecord, TrialState
from search.retries import IN_ORDER
from search.selection import front_trials, keep_rates

BAR_WIDTH = 20
MAX_FRONT_SHOWN = 4
ENDED = {TrialState.COMPLETE: "trained in full", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
REJECTED = {Rejection.TOO_SLOW: "too slow", Rejection.DUPLICATE: "duplicate"}
_JUDGED = re.compile(r"(at|after) epoch \d+: ")


def status_lines(state: ProgressState, now_s: float, now: datetime | None = None) -> list[str]:
    """The live display.

    Args:
        state: the study as it stands.
        now_s: on the clock that the state began by.
        now: time of day, to say when the search will end.
    """
    return [
        *(running_line(trial, state.study) for trial in state.running),
        f"{state.num_ended} of {state.study.num_trials} trials: {counts_text(state)}",
        *_stopped_lines(state),
        *(f"best under {limit_ms:.3g} ms: {best_text(state, limit_ms)}" for limit_ms in state.study.budgets_ms),
        *_front_lines(state.study),
        f"{duration(now_s - state.started_s)} elapsed{_forecast(state, now_s, now)}",
    ]


def running_line(trial: TrialRecord, study: StudyRecord) -> str:
    """One trial that is being trained, with a bar of its epochs."""
    planned = planned_epochs(trial, study)
    filled = BAR_WIDTH * min(trial.num_epochs, planned) // planned
    bar = "█" * filled + "░" * (BAR_WIDTH - filled)
    top1 = f"  {trial.curve[-1]:.2f} %" if trial.curve else ""
    return f"trial {trial.number:>3}  {bar}  epoch {trial.num_epochs}/{planned}  {trial.latency.mean_ms:.2f} ms{top1}"


def ended_line(trial: TrialRecord) -> str:
    """One trial that ended, and why."""
    rates = ", ".join(f"{rate:.2f}" for rate in keep_rates(trial)) or "dense"
    top1 = trial.top1 if trial.top1 is not None else trial.curve[-1] if trial.curve else None
    accuracy = "" if top1 is None else f" {top1:.2f} % at"
    label = f" ({trial.label})" if trial.label else ""
    latency = f"{trial.latency.mean_ms:.2f} ms"
    return f"trial {trial.number}{label} keep {rates}:{accuracy} {latency}, {_how(trial)}"


def counts_text(state: ProgressState) -> str:
    """Trials by how they ended, and proposals that never became one, by reason."""
    numbers = {name: state.count(kind) for kind, name in ENDED.items()}
    if interrupted := sum(trial.failure in IN_ORDER for trial in state.study.trials):
        numbers[ENDED[TrialState.FAIL]] -= interrupted
        numbers["interrupted"] = interrupted
    counts = ", ".join(f"{number} {name}" for name, number in numbers.items())
    return f"{counts}{_rejected(state.study.rejections)}"


def best_text(state: ProgressState, max_latency_ms: float) -> str:
    """The best finished trial within a budget."""
    best = state.best(max_latency_ms)
    return "none yet" if best is None else f"{best.top1:.2f} % at {best.latency.mean_ms:.2f} ms (trial {best.number})"


def budgets_text(study: StudyRecord) -> str:
    """Every budget of a study."""
    noun = "budgets" if study.smaller_budgets_ms else "budget"
    return f"{noun} {', '.join(f'{limit_ms:.3g}' for limit_ms in study.budgets_ms)}"


def stop_kinds(study: StudyRecord) -> Counter[str]:
    """Why trials were stopped, in a word or two each: behind others, diverged, or an error of their own."""
    return Counter(_kind(trial.reason) for trial in study.trials if trial.state is TrialState.PRUNED)


def _kind(reason: str) -> str:
    if _JUDGED.match(reason):
        return "behind"
    if reason.startswith(("diverged", "DivergedError")):
        return "diverged"
    return reason.partition(":")[0] or "without a reason"


def _rejected(rejections: Mapping[Rejection, int]) -> str:
    total = sum(rejections.values())
    if not total:
        return ""
    reasons = ", ".join(f"{count} {REJECTED[reason]}" for reason, count in rejections.items() if count)
    return f", {total} proposals rejected ({reasons})"


def _stopped_lines(state: ProgressState) -> list[str]:
    kinds = stop_kinds(state.study)
    if not kinds:
        return []
    last = max((t for t in state.study.trials if t.state is TrialState.PRUNED), key=lambda t: t.finished_at or 0.0)
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return [f"stopped: {counts}; last trial {last.number}, {last.reason}"]


def _front_lines(study: StudyRecord) -> list[str]:
    front = front_trials(study)
    if not front:
        return []
    shown = front if len(front) <= MAX_FRONT_SHOWN else [*front[: MAX_FRONT_SHOWN - 1], front[-1]]
    points = [f"{trial.top1:.2f} % at {trial.latency.mean_ms:.2f} ms" for trial in shown]
    if len(front) > MAX_FRONT_SHOWN:
        points.insert(-1, "...")
    return [f"front, {len(front)} trial{'' if len(front) == 1 else 's'}: {' · '.join(points)}"]


def _forecast(state: ProgressState, now_s: float, now: datetime | None) -> str:
    remaining_s = state.remaining_s(now_s)
    if remaining_s is None:
        return ""
    at = "" if now is None else f", until {now + timedelta(seconds=remaining_s):%a %H:%M}"
    return f", about {duration(remaining_s)} left{at}"


def _how(trial: TrialRecord) -> str:
    """How a trial ended. An interrupted one did not fail: it goes on when the search is resumed."""
    if trial.failure in IN_ORDER:
        return trial.reason
    return f"{ENDED[trial.state]}: {trial.reason}" if trial.reason else ENDED[trial.state]
