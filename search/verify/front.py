"""I4: the front of a search is that of an undisturbed one. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace

from search.records import StudyRecord, TrialRecord
from search.selection import front_trials
from search.verify.expected import Expected
from search.verify.facts import Facts
from search.verify.report import Violation


def front_csv(study: StudyRecord) -> str:
    """The front in a form that is equal, byte for byte, for equal fronts: keep counts, blocks, latency, top-1.

    Trial numbers are left out: an interrupted search gives its retries numbers of their own.
    """
    rows = [
        (
            " ".join(map(str, trial.blocks)),
            " ".join(map(str, trial.keep_counts)),
            repr(trial.latency.mean_ms),
            repr(trial.top1),
        )
        for trial in sound_front(study)
    ]
    return "".join(",".join(row) + "\n" for row in [("blocks", "keep_counts", "latency_ms", "top1"), *sorted(rows)])


def sound_front(study: StudyRecord) -> tuple[TrialRecord, ...]:
    """The front of the trials whose results are numbers; that others are there is another invariant's to tell."""
    sound = tuple(t for t in study.trials if t.top1 is not None and math.isfinite(t.top1))
    return front_trials(replace(study, trials=sound))


def front_sha256(study: StudyRecord) -> str:
    """The hash of `front_csv`."""
    return hashlib.sha256(front_csv(study).encode()).hexdigest()


def other_front(facts: Facts, expected: Expected) -> Iterator[Violation]:
    """I4: every row of either front that the other does not have."""
    if expected.undisturbed is None:
        return
    ours, theirs = (set(front_csv(study).splitlines()) for study in (facts.study, expected.undisturbed))
    for row in sorted(theirs - ours):
        yield Violation(where="front", what=f"lacks {row}")
    for row in sorted(ours - theirs):
        yield Violation(where="front", what=f"has {row}, which the undisturbed one has not")
