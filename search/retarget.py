"""A study's trials on another device: accuracy stays, latency is that device's. Pure: nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from search.budget import LatencyBudget, Price
from search.choosing import Choice, Compare, binomial, choose_within
from search.pareto import hypervolume
from search.records import Latency, StudyRecord, TrialRecord
from search.selection import best_trial, front_trials, keep_rates, trial_points
from search.summary import baseline_trial, study_hypervolume
from spvit.schedule import TokenGeometry, TokenPlan
from trainers.config import PruningConfig


class Place(StrEnum):
    """What becomes of a trial's place on the Pareto front."""

    STAYS = "stays"
    ENTERS = "enters"
    LEAVES = "leaves"
    OFF = "off"


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedTrial:
    """A trial that was trained to the end, on the study's device and on the other. `top1` is in percent."""

    number: int
    label: str
    top1: float
    keep_rates: tuple[float, ...]
    old: Latency
    new: Latency
    speed_up: float
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedSchedule:
    """The schedule that the experiment itself names; what is not known of it is None."""

    label: str
    top1: float | None
    old: Latency | None
    new: Latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Retargeted:
    """One study on one other device.

    Attributes:
        before: the study as it was searched.
        after: the same trials at the other device's latencies, with its dense model and its budget.
        budget: what a trial may take there, and where the figure comes from.
        fixed: the experiment's own schedule there, if it names one.
        compare: tells trials apart, on any device; by their top-1s alone where absent.
    """

    before: StudyRecord
    after: StudyRecord
    budget: LatencyBudget
    fixed: FixedSchedule | None = None
    compare: Compare | None = None

    @property
    def moved(self) -> tuple[MovedTrial, ...]:
        """Every trial that was trained to the end, the fastest on the other device first."""
        old, new = _by_number(self.before), _by_number(self.after)
        were, are = _front_numbers(self.before), _front_numbers(self.after)
        points = sorted(trial_points(self.after), key=lambda point: (point.latency_ms, -point.top1, point.number))
        return tuple(
            MovedTrial(
                number=point.number,
                label=new[point.number].label,
                top1=point.top1,
                keep_rates=keep_rates(new[point.number]),
                old=old[point.number].latency,
                new=new[point.number].latency,
                speed_up=self.after.dense_latency.mean_ms / point.latency_ms,
                place=_place(was=point.number in were, is_now=point.number in are),
            )
            for point in points
        )

    @property
    def front(self) -> tuple[MovedTrial, ...]:
        """The Pareto front on the other device, the fastest first."""
        return tuple(trial for trial in self.moved if trial.place in {Place.STAYS, Place.ENTERS})

    @property
    def choice(self) -> Choice | None:
        """What `pareto` would take there within the budget; None where no trial is within it."""
        return self._choice(self.after, self.budget.max_ms)

    @property
    def recommended(self) -> MovedTrial | None:
        """The trial to take: within the budget even at the upper end of its prediction."""
        return self.best_within(self.budget.max_ms)

    def best_within(self, max_latency_ms: float) -> MovedTrial | None:
        """The same within any latency, such as one of several smaller budgets."""
        choice = self._choice(self.after, max_latency_ms)
        return None if choice is None else self._moved(choice.trial.number)

    @property
    def recommended_before(self) -> int | None:
        """The number of the trial to take on the study's own device."""
        choice = self._choice(self.before, self.before.max_latency_ms)
        return None if choice is None else choice.trial.number

    @property
    def fastest(self) -> MovedTrial | None:
        """The trial whose upper end is the lowest; None where no trial was trained to the end."""
        return min(self.moved, key=lambda trial: trial.new.high_ms, default=None)

    @property
    def old_front_share(self) -> float:
        """How much of the new front's hypervolume the trials of the old front reach there, from 0 to 1."""
        were, dense_ms = _front_numbers(self.before), self.after.dense_latency.mean_ms
        members = [point for point in trial_points(self.after) if point.number in were]
        whole = study_hypervolume(self.after)
        return hypervolume(members, min_top1=0.0, max_latency_ms=dense_ms) / whole if whole else 1.0

    def _choice(self, study: StudyRecord, max_latency_ms: float) -> Choice | None:
        if best_trial(study, max_latency_ms) is None:
            return None
        return choose_within(study, max_latency_ms, self.compare or binomial(study))

    def _moved(self, number: int) -> MovedTrial:
        return next(trial for trial in self.moved if trial.number == number)


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedBudget:
    """What a trial may take, as it was asked for: milliseconds, a share of the dense model's latency, or neither."""

    max_latency_ms: float | None = None
    max_latency_share: float | None = None

    def on(self, study: StudyRecord, dense: Latency) -> LatencyBudget:
        """The budget on a device whose dense model takes `dense`; the share that the study had where none was asked."""
        if self.max_latency_ms is not None:
            return LatencyBudget(max_ms=self.max_latency_ms, source="--max-latency-ms")
        if self.max_latency_share is not None:
            source = f"{self.max_latency_share:.3g} of the dense model there"
            return LatencyBudget(max_ms=self.max_latency_share * dense.mean_ms, source=source)
        # The quotient of equal latencies is exactly 1: with the study's own table the budget is the study's own.
        share = study.max_latency_ms / study.dense_latency.mean_ms
        scale = dense.mean_ms / study.dense_latency.mean_ms
        return LatencyBudget(
            max_ms=study.max_latency_ms * scale,
            source=f"{share:.3g} of the dense model there, as in the study",
            smaller_ms=tuple(limit_ms * scale for limit_ms in study.smaller_budgets_ms),
        )


def retarget(
    study: StudyRecord,
    *,
    price: Price,
    geometry: TokenGeometry,
    budget: LatencyBudget,
    experiment: Mapping[str, Any] | None = None,
    default: PruningConfig | None = None,
    compare: Compare | None = None,
) -> Retargeted:
    """Price every trial of a study anew.

    Args:
        study: as it was searched; finished or not.
        price: what networks cost on the other device.
        geometry: of the backbone.
        budget: what a trial may take there.
        experiment: the study's experiment as it would be on that device, in plain values; its own if absent.
        default: what the experiment prunes by itself.
        compare: tells trials apart; by their top-1s alone where absent.

    Raises:
        LatencyTableError: a trial's network cannot be priced.
    """
    priced = tuple(replace(trial, latency=price(plan_of(trial, geometry))) for trial in study.trials)
    after = replace(
        study,
        name=study.name if experiment is None else str(experiment["study"]["name"]),
        experiment=study.experiment if experiment is None else experiment,
        dense_latency=price(_plan(PruningConfig(), geometry)),
        max_latency_ms=budget.max_ms,
        smaller_budgets_ms=budget.smaller_ms,
        trials=priced,
    )
    fixed = None if default is None else _fixed_schedule(study, default, price(_plan(default, geometry)))
    return Retargeted(before=study, after=after, budget=budget, fixed=fixed, compare=compare)


def plan_of(trial: TrialRecord, geometry: TokenGeometry) -> TokenPlan:
    """The network that a trial trained, in integer token counts."""
    return _plan(PruningConfig.model_validate(trial.config["pruning"]), geometry)


def best_on_every_device(devices: Sequence[Retargeted]) -> MovedTrial | None:
    """The most accurate trial that keeps the budget of every device; its latencies are those of the first one.

    By the numbers alone: which of two trials is the faster hangs on the device. Accuracy is the same everywhere, so
    this is also the trial that is best on the device that is worst for it.
    """
    allowed = set.intersection(*({t.number for t in device.moved if device.budget.admits(t.new)} for device in devices))
    candidates = [trial for trial in devices[0].moved if trial.number in allowed]
    return max(candidates, key=lambda trial: (trial.top1, -trial.new.mean_ms, -trial.number), default=None)


def _plan(pruning: PruningConfig, geometry: TokenGeometry) -> TokenPlan:
    return pruning.schedule.plan(geometry, pruning.package, pruning.selector)


def _fixed_schedule(study: StudyRecord, default: PruningConfig, latency: Latency) -> FixedSchedule | None:
    if not default.schedule.stages:
        return None
    trained = baseline_trial(study)
    rates = ", ".join(f"{rate:.3g}".removeprefix("0") for rate in default.schedule.keep_rates)
    return FixedSchedule(
        label=f"fixed [{rates}]",
        top1=None if trained is None else trained.top1,
        old=None if trained is None else trained.latency,
        new=latency,
    )


def _by_number(study: StudyRecord) -> dict[int, TrialRecord]:
    return {trial.number: trial for trial in study.trials}


def _front_numbers(study: StudyRecord) -> set[int]:
    return {trial.number for trial in front_trials(study)}


def _place(*, was: bool, is_now: bool) -> Place:
    if was:
        return Place.STAYS if is_now else Place.LEAVES
    return Place.ENTERS if is_now else Place.OFF
