"""Candidates in a define-by-run space: drawn, perturbed and written as numbers for a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

Array = NDArray[np.float64]
Params = dict[str, Any]

ENDED = {TrialState.COMPLETE, TrialState.PRUNED}
STEP_SIZES = (0.02, 0.1, 0.3)
"""How far a number is moved, in widths of its range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """One set of parameters that trials asked for together.

    Attributes:
        distributions: by name.
        excluded: by the name of a discrete parameter, the values that lead to another branch.
    """

    distributions: Mapping[str, BaseDistribution]
    excluded: Mapping[str, frozenset[Any]]

    def admits(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial with these parameters would, by all that is known, ask for just these."""
        return not any(params[name] in values for name, values in self.excluded.items())

    def draw(self, rng: np.random.Generator, num: int) -> list[Params]:
        """At most `num` configurations, uniform on each parameter's own scale."""
        columns = [
            [decode(distribution, share) for share in rng.random(num)] for distribution in self.distributions.values()
        ]
        drawn = (dict(zip(self.distributions, values, strict=True)) for values in zip(*columns, strict=True))
        return [params for params in drawn if self.admits(params)]

    def perturbed(self, rng: np.random.Generator, params: Mapping[str, Any], num: int) -> list[Params]:
        """At most `num` copies with one or two parameters changed."""
        moved = (self._moved(rng, params) for _ in range(num))
        return [neighbour for neighbour in moved if self.admits(neighbour)]

    def _moved(self, rng: np.random.Generator, params: Mapping[str, Any]) -> Params:
        names = list(self.distributions)
        chosen = rng.choice(len(names), size=min(len(names), int(rng.integers(1, 3))), replace=False)
        new = {names[index]: _step(rng, self.distributions[names[index]], params[names[index]]) for index in chosen}
        return {name: new.get(name, params[name]) for name in names}


class ParameterSpace:
    """Every branch that the trials of a study have shown.

    Raises:
        ValueError: no branches.
    """

    def __init__(self, branches: Iterable[Branch]) -> None:
        self.branches = tuple(branches)
        if not self.branches:
            raise ValueError("a parameter space needs at least one branch")
        self.distributions = {
            name: distribution for branch in self.branches for name, distribution in branch.distributions.items()
        }

    @classmethod
    def of_trials(cls, trials: Sequence[FrozenTrial]) -> ParameterSpace:
        """The space that trials with parameters have shown; a later trial's ranges replace those of an earlier one.

        Running and failed trials, which may not have asked for everything, count only until others have ended.
        """
        ended = [trial for trial in trials if trial.state in ENDED and trial.distributions]
        members: dict[frozenset[str], list[FrozenTrial]] = {}
        for trial in ended or trials:
            members.setdefault(frozenset(trial.distributions), []).append(trial)
        whole = {names: own for names, own in members.items() if _is_whole(names, own, members)}
        latest = {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
        return cls(
            Branch(
                distributions={name: latest[name] for name in sorted(names)},
                excluded=_excluded(own, [t for other, theirs in whole.items() if other != names for t in theirs]),
            )
            for names, own in whole.items()
        )

    @property
    def is_category(self) -> NDArray[np.bool_]:
        """For every parameter, whether its values have no order."""
        return np.array([isinstance(d, CategoricalDistribution) for d in self.distributions.values()], dtype=bool)

    def draw(self, rng: np.random.Generator, num: int) -> list[Params]:
        """About `num` configurations, evenly from every branch."""
        share = -(-num // len(self.branches))
        return [params for branch in self.branches for params in branch.draw(rng, share)]

    def perturbed(self, rng: np.random.Generator, params: Mapping[str, Any], num: int) -> list[Params]:
        """Neighbours of a configuration within its branch; none if its branch is unknown."""
        for branch in self.branches:
            if branch.distributions.keys() == params.keys():
                return branch.perturbed(rng, params, num)
        return []

    def encode(self, configurations: Sequence[Mapping[str, Any]]) -> Array:
        """(num_configurations, num_parameters): numbers in [0, 1], indices of categories, NaN for unused parameters."""
        columns = [
            [encode(distribution, params[name]) if name in params else np.nan for params in configurations]
            for name, distribution in self.distributions.items()
        ]
        return np.array(columns, dtype=float).reshape(len(columns), len(configurations)).T


def encode(distribution: BaseDistribution, value: Any) -> float:
    """A value as its share of the range, on a log scale if the range has one; a category as its index."""
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.choices.index(value)) if value in distribution.choices else np.nan
    low, high = _bounds(distribution)
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(max(value, distribution.low))
    return min(max(float((value - low) / (high - low)), 0.0), 1.0) if high > low else 0.0


def decode(distribution: BaseDistribution, share: float) -> Any:
    """The value at a share of the range, the inverse of `encode`; of categories, each of which has an equal part."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    low, high = _bounds(distribution)
    value = low * (high / low) ** share if distribution.log else low + share * (high - low)
    if distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def _bounds(distribution: Any) -> tuple[float, float]:
    """A range widened by half a step, so that every step has an equal part of it."""
    half = (distribution.step or 0.0) / 2.0
    return distribution.low - half, distribution.high + half


def _step(rng: np.random.Generator, distribution: Any, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        others = [choice for choice in distribution.choices if choice != value]
        return others[rng.integers(len(others))] if others else value
    size = STEP_SIZES[rng.integers(len(STEP_SIZES))]
    share = encode(distribution, value) + size * rng.standard_normal()
    return decode(distribution, min(max(share, 0.0), 1.0))


def _is_whole(names: frozenset[str], own: Sequence[FrozenTrial], everyone: Iterable[frozenset[str]]) -> bool:
    """Whether trials asked for all they needed: one was completed, or none asked for the same and more."""
    return any(trial.state is TrialState.COMPLETE for trial in own) or not any(names < other for other in everyone)


def _excluded(own: Sequence[FrozenTrial], others: Sequence[FrozenTrial]) -> dict[str, frozenset[Any]]:
    """Values of discrete parameters that only other branches have, where a parameter tells the branches apart."""
    excluded: dict[str, frozenset[Any]] = {}
    for name, distribution in own[0].distributions.items():
        ours = {trial.params[name] for trial in own}
        theirs = {trial.params[name] for trial in others if name in trial.params}
        is_discrete = isinstance(distribution, CategoricalDistribution | IntDistribution)
        if is_discrete and theirs and not ours & theirs:
            excluded[name] = frozenset(theirs)
    return excluded
