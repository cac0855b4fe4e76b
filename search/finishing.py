"""Trains chosen trials to full length: the driver and the workers of a search, with nothing left to propose."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from search.choosing import Choice, Compare, choose_to_take
from search.continuations import continuation, continued_config
from search.driver import SearchDriver
from search.limits import Limits
from search.noise import Difference
from search.priced_candidates import is_candidate, specialisation, specialisations
from search.proposal import Proposal
from search.records import EndCause, Origin, SearchEnd, StudyRecord, TrialRecord, TrialState
from search.retries import root_of
from spvit.errors import NothingFeasibleError, UsageError

logger = logging.getLogger(__name__)


def choices_to_finish(
    study: StudyRecord,
    compare: Compare,
    *,
    epochs: int,
    numbers: Sequence[int] = (),
    max_latency_ms: float | None = None,
    top: int = 1,
) -> tuple[Choice, ...]:
    """The trials that are to be trained on: those named, or the choice within a latency, then that of the rest.

    Trials that were finished before are no candidates, so that the same question has the same answer afterwards. One
    that is chosen, not named, and was trained for so many epochs already is told of and left as it is.

    Args:
        study: the study.
        compare: tells trials apart.
        epochs: what they are to be trained to.
        numbers: of trials; none to choose.
        max_latency_ms: the study's budget where absent.
        top: how many, where none are named; fewer where there are no more.

    Raises:
        UsageError: a trial is not there or was not trained to the end; or one that is named, or all that are chosen,
            were trained for so many epochs already.
        NothingFeasibleError: no trial is within the latency.
    """
    searched = replace(study, trials=tuple(t for t in study.trials if t.origin is not Origin.FINISHED))
    if numbers:
        chosen = [choose_to_take(searched, compare, number=number) for number in dict.fromkeys(numbers)]
    else:
        chosen = _best(searched, _of_measured(compare), max_latency_ms, top)
    shorter = tuple(choice for choice in chosen if choice.trial.num_epochs < epochs)
    trained = [choice.trial for choice in chosen if choice.trial.num_epochs >= epochs]
    told = [f"trial {trial.number} was trained for {trial.num_epochs} epochs already" for trial in trained]
    if trained and (numbers or not shorter):
        raise UsageError(
            f"study {study.name!r}: {'; '.join(told)}, and --epochs {epochs} asks for no more; give a larger number"
        )
    for text in told:
        logger.warning("%s, which is not less than --epochs %d: it stays as it is", text, epochs)
    return shorter


def finished_trials(study: StudyRecord, chosen: Sequence[TrialRecord], epochs: int) -> tuple[TrialRecord, ...]:
    """The trials that trained the chosen ones to so many epochs, in that order, as far as they ended."""
    found = (_attempts(study.trials, trial, epochs) for trial in chosen)
    return tuple(t for attempts in found for t in attempts if t.state in {TrialState.COMPLETE, TrialState.PRUNED})


class FinishDriver(SearchDriver):
    """Runs the continuations of chosen trials, and those of them that were interrupted, and nothing else.

    Rules that end a search do not end it, and how the search itself ended is kept.
    """

    def __init__(self, *, chosen: Sequence[TrialRecord], epochs: int, limits: Limits, **options: Any) -> None:
        """As `SearchDriver`; `chosen` are complete trials that were trained for fewer than `epochs`.

        Candidates of `search.priced_candidates` are trained from elastic weights.
        """
        super().__init__(limits=replace(limits, rules=()), **options)
        self._chosen, self._epochs = tuple(chosen), epochs
        self._search_end = self._store.record().end

    @property
    @override
    def is_finished(self) -> bool:
        """Whether every chosen trial was trained to its end, or cannot be."""
        return not self._store.running and not self._due() and not self._next_chosen()

    @override
    def _next_proposal(self) -> Proposal | None:
        if due := self._due():
            return self._agenda.proposer.retry(due[0], root_of(due[0]))
        record = self._next_chosen()
        if record is None:
            return None
        plan = self._agenda.proposer.retry(record, root_of(record)).plan
        if is_candidate(record):
            return specialisation(record, plan)
        return replace(continuation(record, continued_config(record, self._epochs), plan), origin=Origin.FINISHED)

    @override
    def _otherwise(self) -> SearchEnd:
        """How the search ended stays what it was."""
        reason = "chosen trials were trained on; the search itself was never ended"
        return self._search_end or SearchEnd(cause=EndCause.STOPPED, reason=reason)

    def _due(self) -> tuple[TrialRecord, ...]:
        """Interrupted continuations. Interrupted trials of the search are the business of `resume`."""
        return tuple(t for t in self._store.due if t.origin is Origin.FINISHED)

    def _next_chosen(self) -> TrialRecord | None:
        return next((t for t in self._chosen if not _attempts(self._store.trials, t, self._epochs)), None)


def _best(study: StudyRecord, compare: Compare, max_latency_ms: float | None, top: int) -> list[Choice]:
    chosen: list[Choice] = []
    left = study
    while len(chosen) < top:
        try:
            chosen.append(choose_to_take(left, compare, max_latency_ms=max_latency_ms))
        except NothingFeasibleError:
            if not chosen:
                raise
            break
        left = replace(left, trials=tuple(t for t in left.trials if t.number != chosen[-1].trial.number))
    return chosen


def _of_measured(compare: Compare) -> Compare:
    """An estimate is no top-1 of so many images: what was only priced is equal to nothing."""

    def compare_measured(first: TrialRecord, second: TrialRecord) -> Difference | None:
        return None if is_candidate(first) or is_candidate(second) else compare(first, second)

    return compare_measured


def _attempts(trials: Sequence[TrialRecord], chosen: TrialRecord, epochs: int) -> list[TrialRecord]:
    """Every attempt to train a trial to so many epochs."""
    if is_candidate(chosen):
        return specialisations(trials, chosen)
    known = (trial for trial in trials if trial.origin is Origin.FINISHED and trial.continues == root_of(chosen))
    return [trial for trial in known if trial.config["training"]["epochs"] == epochs]
