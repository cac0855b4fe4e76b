"""Chooses one trial by what a user wants, and among those that the images cannot tell apart the fastest. Pure.

The search's own rules hold: a trial is within a latency when the upper end of its predicted interval is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.noise import Difference, unpaired_difference
from search.pareto import knee, pareto_front
from search.records import StudyRecord, TrialRecord
from search.selection import choose_trial, nothing_as_accurate, trial_points
from spvit.errors import NothingFeasibleError, UsageError

SAME_LATENCY = 0.01
"""Share by which latencies of two trials may differ and still count as one: half of what a table's check allows."""

MAX_BLUR = 3.0
"""Points of top-1 that the images may hide. Where they hide more nobody would take one trial for another unseen."""
NOTICEABLE = 1.005
"""Ratio of two latencies from which on it is worth a word: what two decimals show."""

Compare = Callable[[TrialRecord, TrialRecord], Difference | None]
"""The difference of the top-1s of two finished trials; None where nobody knows how many images they stand on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Equal:
    """A finished trial that is as accurate as the best within the noise, and how they differ."""

    trial: TrialRecord
    difference: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One trial, and what else could have been chosen.

    Attributes:
        trial: what to take.
        best: what meets the wish best by the numbers alone; the same trial unless noise hides the difference.
        equals: trials that meet the wish too and that the images cannot tell from the best, `trial` among them where it
            is not the best; fastest first.
        wish: what was asked for, in words.
    """

    trial: TrialRecord
    best: TrialRecord
    equals: tuple[Equal, ...]
    wish: str

    @property
    def difference(self) -> Difference | None:
        """The chosen trial's top-1 less that of the best; None where they are one."""
        return next((equal.difference for equal in self.equals if equal.trial.number == self.trial.number), None)

    @property
    def reason(self) -> str:
        """Why the chosen trial is not the best by the numbers; empty where it is."""
        if self.difference is None:
            return ""
        return f"equal to it within the noise, {self.difference.to_text()}, and {self._gain()}"

    def _gain(self) -> str:
        ratio = self.best.latency.mean_ms / self.trial.latency.mean_ms
        if ratio > NOTICEABLE:
            return f"{ratio:.2f} times as fast"
        num_selectors = len(self.trial.blocks)
        return f"simpler, with {num_selectors} selector{'' if num_selectors == 1 else 's'}"


def binomial(study: StudyRecord) -> Compare:
    """Compares by the top-1s alone, of so many images as the study says."""
    num_images = study.num_val_images

    def compare(first: TrialRecord, second: TrialRecord) -> Difference | None:
        if not num_images or first.top1 is None or second.top1 is None:
            return None
        return unpaired_difference(first.top1, second.top1, num_images)

    return compare


def only_faster(compare: Compare) -> Compare:
    """Compares only what may be preferred to the second trial: slower ones are not asked about and never equal."""

    def compare_faster(first: TrialRecord, second: TrialRecord) -> Difference | None:
        return compare(first, second) if first.latency.mean_ms <= second.latency.mean_ms else None

    return compare_faster


def choose_to_take(
    study: StudyRecord, compare: Compare, *, number: int | None = None, max_latency_ms: float | None = None
) -> Choice:
    """What a command goes on with: the trial of this number, or else the choice within a latency.

    Args:
        study: the study.
        compare: tells trials apart.
        number: of the trial, whatever others there are.
        max_latency_ms: the study's budget where absent.

    Raises:
        UsageError: there is no such trial, or it was not trained to the end.
        NothingFeasibleError: no finished trial is within the latency; names the nearest and by how much it misses.
    """
    if number is None:
        return choose_within(study, study.max_latency_ms if max_latency_ms is None else max_latency_ms, compare)
    trial = choose_trial(study, number=number)
    return Choice(trial=trial, best=trial, equals=(), wish=f"trial {number}")


def choose(
    study: StudyRecord, compare: Compare, *, max_latency_ms: float | None = None, min_top1: float | None = None
) -> Choice:
    """The most accurate within a latency, the fastest with a top-1 (percent), or else the knee of the front.

    Raises:
        UsageError: both wishes were given.
        NothingFeasibleError: no finished trial meets it; names the nearest and by how much it misses.
    """
    if max_latency_ms is not None and min_top1 is not None:
        raise UsageError("max_latency_ms and min_top1 were both given; one of them says which trial to choose.")
    if max_latency_ms is not None:
        return choose_within(study, max_latency_ms, compare)
    return choose_knee(study, compare) if min_top1 is None else choose_accurate(study, min_top1, compare)


def choose_within(study: StudyRecord, max_latency_ms: float, compare: Compare) -> Choice:
    """The most accurate trial within a latency; a faster one where the images cannot tell it from that.

    Too few images tell nothing apart: where they may hide more than `MAX_BLUR` points, none is preferred.

    Raises:
        NothingFeasibleError: no finished trial is; names the nearest and by how much it misses.
    """
    best = choose_trial(study, max_latency_ms=max_latency_ms)
    within = [trial for trial in study.finished if trial.latency.high_ms <= max_latency_ms]
    return _prefer_faster(best, within, compare, wish=f"the most accurate within {max_latency_ms:g} ms")


def choose_accurate(study: StudyRecord, min_top1: float, compare: Compare) -> Choice:
    """The fastest trial with a top-1 (percent); the simplest, then the most accurate, of those about as fast.

    Raises:
        NothingFeasibleError: no finished trial has it; names the nearest and by how much it misses.
    """
    enough = [trial for trial in study.finished if trial.top1 is not None and trial.top1 >= min_top1]
    if not enough:
        raise NothingFeasibleError(nothing_as_accurate(study, min_top1))
    best = _fastest(enough)
    return Choice(trial=best, best=best, equals=_equals(best, enough, compare), wish=f"the fastest with {min_top1:g} %")


def choose_knee(study: StudyRecord, compare: Compare) -> Choice:
    """The bend of the front, beyond which a little more accuracy costs much latency; a faster one if as accurate.

    Raises:
        NothingFeasibleError: no trial is finished yet.
    """
    point = knee(pareto_front(trial_points(study)))
    if point is None:
        raise NothingFeasibleError(f"study {study.name!r} has no trial that was trained to the end, so no front yet")
    best = next(trial for trial in study.finished if trial.number == point.number)
    as_fast = [trial for trial in study.finished if trial.latency.mean_ms <= best.latency.mean_ms]
    return _prefer_faster(best, as_fast, compare, wish="the knee of the front")


def _prefer_faster(best: TrialRecord, allowed: list[TrialRecord], compare: Compare, *, wish: str) -> Choice:
    equals = _equals(best, allowed, compare)
    clear = [equal.trial for equal in equals if equal.difference.blur <= MAX_BLUR]
    candidates = [trial for trial in clear if trial.latency.mean_ms <= best.latency.mean_ms]
    return Choice(trial=_fastest([best, *candidates]), best=best, equals=equals, wish=wish)


def _equals(best: TrialRecord, allowed: list[TrialRecord], compare: Compare) -> tuple[Equal, ...]:
    found = [
        Equal(trial=trial, difference=difference)
        for trial in allowed
        if trial.number != best.number and (difference := compare(trial, best)) is not None and difference.is_noise
    ]
    return tuple(sorted(found, key=lambda equal: (equal.trial.latency.mean_ms, equal.trial.number)))


def _fastest(trials: list[TrialRecord]) -> TrialRecord:
    """Of those as fast as the fastest the one with the fewest selectors, then the most accurate."""
    limit_ms = (1 + SAME_LATENCY) * min(trial.latency.mean_ms for trial in trials)
    about_as_fast = [trial for trial in trials if trial.latency.mean_ms <= limit_ms]
    return min(about_as_fast, key=_simplest_first)


def _simplest_first(trial: TrialRecord) -> tuple[float, ...]:
    return len(trial.blocks), -(trial.top1 or 0.0), trial.latency.mean_ms, trial.number
