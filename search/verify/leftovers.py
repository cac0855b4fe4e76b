"""I6: nothing is left running or half written after the end. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.verify.facts import Facts
from search.verify.report import Violation


def left_behind(facts: Facts) -> Iterator[Violation]:
    """I6: no trial, run or process runs any more, and no temporary file is left. For a study that has ended."""
    for trial in facts.study.trials:
        if not trial.state.is_finished:
            yield Violation(where=f"trial {trial.number}", what=f"is {trial.state} after the search's end")
    for run in facts.runs or ():
        if run.status == "RUNNING":
            where = "the search's run" if run.trial is None else f"the run of trial {run.trial}"
            yield Violation(where=where, what="is RUNNING in MLflow after the search's end")
    for path in facts.leftovers:
        yield Violation(where=path, what="is temporary and was left behind")
    for process in facts.orphans:
        yield Violation(where=process, what="belongs to this study and outlived its driver")
