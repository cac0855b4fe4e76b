"""Checks every invariant of one study."""

from __future__ import annotations

from pathlib import Path

from search.verify.expected import Expected
from search.verify.facts import Facts
from search.verify.failures import badly_told
from search.verify.files import not_whole
from search.verify.front import front_sha256, other_front
from search.verify.leftovers import left_behind
from search.verify.load import load_facts
from search.verify.report import Finding, Invariant, Outcome, VerifyReport
from search.verify.tracking import untold
from search.verify.trials import duplicates, lost, run_twice


def verify_study(folder: Path, expected: Expected | None = None) -> VerifyReport:
    """Checks a study's storage, checkpoints, MLflow runs and exports. Changes nothing; works on a running study too.

    Args:
        folder: the study's.
        expected: what else is known of it.

    Raises:
        UsageError: there is no such study.
        StorageError: it cannot be read.
    """
    return verify_facts(load_facts(folder), expected or Expected())


def verify_facts(facts: Facts, expected: Expected) -> VerifyReport:
    """The same on facts that were loaded before. Pure."""
    return VerifyReport(
        study=facts.study.name,
        front_sha256=front_sha256(facts.study),
        findings=(
            Finding.of(Invariant.NOTHING_LOST, tuple(lost(facts, expected)), _num_finished(facts)),
            Finding.of(Invariant.RUN_ONCE, tuple(run_twice(facts, expected))),
            Finding.of(Invariant.NO_DUPLICATES, tuple(duplicates(facts))),
            _same_front(facts, expected),
            _tracked(facts),
            _nothing_left(facts),
            Finding.of(Invariant.FILES_WHOLE, tuple(not_whole(facts)), _num_files(facts)),
            Finding.of(Invariant.FAILURES_TOLD, tuple(badly_told(facts))),
        ),
    )


def _not_checked(invariant: Invariant, why: str) -> Finding:
    return Finding(invariant=invariant, outcome=Outcome.NOT_CHECKED, note=why)


def _same_front(facts: Facts, expected: Expected) -> Finding:
    if expected.undisturbed is None:
        return _not_checked(Invariant.SAME_FRONT, "no undisturbed study was named (--same-front-as)")
    return Finding.of(Invariant.SAME_FRONT, tuple(other_front(facts, expected)))


def _tracked(facts: Facts) -> Finding:
    violations = tuple(untold(facts))
    if facts.runs is None and not violations and not facts.exports:
        return _not_checked(Invariant.TRACKED, facts.runs_note)
    runs = facts.runs_note if facts.runs is None else f"{len(facts.runs)} runs {facts.runs_note}"
    return Finding.of(Invariant.TRACKED, violations, f"{runs}; {len(facts.exports)} exports")


def _nothing_left(facts: Facts) -> Finding:
    if facts.is_running:
        return _not_checked(Invariant.NOTHING_LEFT, "a driver is running the study")
    if not facts.has_ended:
        return _not_checked(
            Invariant.NOTHING_LEFT, f"its driver was killed; spvit-search resume {facts.study.name} goes on with it"
        )
    return Finding.of(Invariant.NOTHING_LEFT, tuple(left_behind(facts)))


def _num_finished(facts: Facts) -> str:
    return f"{sum(trial.state.is_finished for trial in facts.study.trials)} finished trials"


def _num_files(facts: Facts) -> str:
    return f"{len(facts.checkpoints)} checkpoints, {len(facts.exports)} exports"
