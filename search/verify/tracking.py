"""I5: MLflow and the exports say what the study says. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from search.records import StudyRecord, TrialRecord, TrialState
from search.retries import root_of
from search.verify.facts import ExportFact, Facts, RunFact
from search.verify.report import Violation

TOLERANCE = 1e-5
"""Relative: MLflow is told six digits."""


def untold(facts: Facts) -> Iterator[Violation]:
    """I5: a run for each trial with its state and every epoch once; exports of trials that the study has."""
    if facts.runs is not None:
        yield from _missing_or_double(facts.study, facts.runs)
        yield from _wrong_points(facts.study, facts.runs)
        yield from _wrong_states(facts, facts.runs)
        if facts.num_unsent and not facts.is_running:
            yield Violation(where="tracking.jsonl", what=f"{facts.num_unsent} events are not in MLflow yet")
    for export in facts.exports:
        yield from _wrong_export(export, facts.study)


def _missing_or_double(study: StudyRecord, runs: tuple[RunFact, ...]) -> Iterator[Violation]:
    counts = Counter(run.trial for run in runs)
    for number in (None, *(trial.number for trial in study.trials)):
        where = "the search's run" if number is None else f"the run of trial {number}"
        if counts[number] != 1:
            yield Violation(where=where, what=f"is in MLflow {counts[number]} times")
        del counts[number]
    for number in counts:
        yield Violation(where=f"the run of trial {number}", what="is in MLflow, but the study has no such trial")


def _wrong_points(study: StudyRecord, runs: tuple[RunFact, ...]) -> Iterator[Violation]:
    """An epoch is told in the run of the attempt that trained it: a retry's curve begins with its predecessor's."""
    told: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    roots = {trial.number: root_of(trial) for trial in study.trials}
    for run in runs:
        for epoch, values in run.top1.items():
            if run.trial is None:
                continue
            where = f"the run of trial {run.trial}"
            if len(values) > 1:
                yield Violation(where=where, what=f"has {len(values)} points of top-1 for epoch {epoch}")
            told[roots.get(run.trial, run.trial)][epoch] += values
    for trial in study.trials:
        yield from _missing_points(trial, told[roots[trial.number]])


def _missing_points(trial: TrialRecord, told: dict[int, list[float]]) -> Iterator[Violation]:
    own = trial.curve[trial.continues_epochs :]  # those of the training that it prolongs are told in that one's run
    for epoch, top1 in enumerate(own, start=1 + trial.continues_epochs):
        if not told.get(epoch):
            yield Violation(where=f"the run of trial {trial.number}", what=f"has no top-1 for epoch {epoch}")
        elif not any(math.isclose(value, top1, rel_tol=TOLERANCE) for value in told[epoch]):
            what = f"has top-1 {told[epoch][0]} for epoch {epoch}, the study {top1}"
            yield Violation(where=f"the run of trial {trial.number}", what=what)


def _wrong_states(facts: Facts, runs: tuple[RunFact, ...]) -> Iterator[Violation]:
    states = {trial.number: trial.state for trial in facts.study.trials}
    for run in runs:
        state = None if run.trial is None else states.get(run.trial)
        if state is not None and state.is_finished and run.state != state:
            where = f"the run of trial {run.trial}"
            yield Violation(where=where, what=f"says {run.state or 'nothing'}, the study {state}")


def _wrong_export(export: ExportFact, study: StudyRecord) -> Iterator[Violation]:
    trial = next((t for t in study.trials if t.number == export.trial), None)
    if export.study != study.name:
        yield Violation(where=export.path, what=f"is of study {export.study!r}")
    elif trial is None or trial.state is not TrialState.COMPLETE:
        held = "does not have it" if trial is None else f"holds it as {trial.state}"
        yield Violation(where=export.path, what=f"is of trial {export.trial}, but the study {held}")
    elif export.top1 is not None and export.top1 != trial.top1:
        yield Violation(where=export.path, what=f"says top-1 {export.top1}, its trial {trial.top1}")
