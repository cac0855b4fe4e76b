"""I1, I2 and I3: nothing finished is lost, nothing runs twice, nothing is tried twice. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from search.records import EndCause, Origin, StudyRecord, TrialRecord, TrialState
from search.retries import root_of
from search.summary import num_counted
from search.verify.expected import Expected
from search.verify.facts import Facts
from search.verify.recorded_identity import recorded_identity
from search.verify.report import Violation

TOLERANCE = 1e-9
"""Of a top-1 in percent: it is written as a number with all its digits everywhere."""


def lost(facts: Facts, expected: Expected) -> Iterator[Violation]:
    """I1: what was told to be finished, by anybody, is finished in the study."""
    known = {trial.number: trial for trial in facts.study.trials}
    for number, trial in enumerate(facts.study.trials):
        if trial.number != number:
            yield Violation(where=f"trial {number}", what=f"is missing from the study; trial {trial.number} follows")
            break
    yield from _lost_since(known, expected.before)
    for run in facts.runs or ():
        if run.trial is None or run.state not in {TrialState.COMPLETE, TrialState.PRUNED}:
            continue
        held_trial = known.get(run.trial)
        if held_trial is None or held_trial.state != run.state:
            held = "does not have it" if held_trial is None else f"holds it as {held_trial.state}"
            yield Violation(where=f"trial {run.trial}", what=f"MLflow has it as {run.state}, the study {held}")
    for number in facts.trial_folders:
        if number not in known:
            yield Violation(where=f"trials/{number}", what="has a folder, but the study has no such trial")


def _lost_since(known: dict[int, TrialRecord], before: StudyRecord | None) -> Iterator[Violation]:
    for old in () if before is None else before.trials:
        if not old.state.is_finished:
            continue
        new = known.get(old.number)
        if new is None:
            yield Violation(where=f"trial {old.number}", what=f"was {old.state} and is gone")
        elif replace(new, mlflow_run_id=None) != replace(old, mlflow_run_id=None):
            yield Violation(where=f"trial {old.number}", what=f"was {old.state} and was changed since")


def run_twice(facts: Facts, expected: Expected) -> Iterator[Violation]:
    """I2: one terminal state, at the end of a whole curve; attempts follow each other and end with a success."""
    families: dict[int, list[TrialRecord]] = defaultdict(list)
    for trial in sorted(facts.study.trials, key=lambda t: t.number):
        families[root_of(trial)].append(trial)
        yield from _untrue(trial)
    for root, attempts in families.items():
        yield from _untrue_attempts(root, attempts)
    for root, executed in expected.executed_epochs.items():
        needed = max((trial.num_epochs for trial in families[root]), default=0)
        if executed > needed + expected.num_faults:
            yield Violation(
                where=f"trial {root}",
                what=f"{executed} epochs were run for {needed} that were needed, with {expected.num_faults} faults",
            )


def _untrue(trial: TrialRecord) -> Iterator[Violation]:
    where = f"trial {trial.number}"
    if trial.state.is_finished and trial.finished_at is None:
        yield Violation(where=where, what=f"is {trial.state} without a time of its end")
    if trial.state is TrialState.COMPLETE:
        yield from _untrue_completion(trial)
    elif trial.top1 is not None:
        yield Violation(where=where, what=f"is {trial.state} and has a result")
    if trial.state in {TrialState.PRUNED, TrialState.FAIL} and not trial.reason:
        yield Violation(where=where, what=f"is {trial.state} without a reason")


def _untrue_completion(trial: TrialRecord) -> Iterator[Violation]:
    where = f"trial {trial.number}"
    if trial.top1 is None or not math.isfinite(trial.top1) or not all(map(math.isfinite, trial.curve)):
        yield Violation(where=where, what=f"is complete with top-1 {trial.top1} and curve {list(trial.curve)}")
        return
    planned = trial.config.get("training", {}).get("epochs")
    if planned is not None and trial.num_epochs != planned:
        yield Violation(where=where, what=f"is complete after {trial.num_epochs} of {planned} epochs")
    if not trial.curve or abs(trial.curve[-1] - trial.top1) > TOLERANCE:
        yield Violation(where=where, what=f"its top-1 of {trial.top1} is not the end of its curve {list(trial.curve)}")


def _untrue_attempts(root: int, attempts: list[TrialRecord]) -> Iterator[Violation]:
    if attempts[0].number != root:
        yield Violation(where=f"trial {attempts[0].number}", what=f"repeats trial {root}, which is no first attempt")
    for before, after in pairwise(attempts):
        where = f"trial {after.number}"
        if before.state is not TrialState.FAIL:
            yield Violation(where=where, what=f"runs trial {before.number} again, which is {before.state}")
        if after.curve[: before.num_epochs] != before.curve:
            yield Violation(where=where, what=f"does not go on with the epochs of trial {before.number}")


def duplicates(facts: Facts) -> Iterator[Violation]:
    """I3: no two trials of one network trained alike, and exactly as many as were asked for."""
    first: dict[str, int] = {}
    for trial in sorted(facts.study.trials, key=lambda t: t.number):
        if trial.retry_of is not None:
            continue
        earlier = first.setdefault(recorded_identity(trial), trial.number)
        if earlier != trial.number:
            yield Violation(where=f"trial {trial.number}", what=f"is the same network, trained alike, as {earlier}")
    yield from _miscounted(facts.study)


def _miscounted(study: StudyRecord) -> Iterator[Violation]:
    counted = num_counted(study)
    if study.end is not None and study.end.cause is EndCause.TRIALS and counted < study.num_trials:
        yield Violation(where="study", what=f"ended after {counted} of the {study.num_trials} trials asked for")
    # Whoever asks for fewer trials than there are keeps those; so only trials beyond every number asked for are wrong.
    most = max(study.num_trials, study.most_trials)
    if counted > most:
        yield Violation(where="study", what=f"has {counted} trials, more than the {most} asked for")
    if sum(t.origin is Origin.BASELINE and t.retry_of is None for t in study.trials) > 1:
        yield Violation(where="study", what="trained the fixed schedule more than once")
