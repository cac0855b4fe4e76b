"""Two trials side by side: what their configurations differ in, and whether they differ in what counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.noise import Difference
from search.pareto import ParetoPoint
from search.records import Origin, StudyRecord, TrialRecord
from spvit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigDifference:
    """One key in which two configurations differ; None where a trial does not have it."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyRatio:
    """The first trial's predicted latency over the second's, and the range that their intervals allow.

    The intervals come from one table and err the same way for the most part, so the range is wider than the ratio's
    own error.
    """

    ratio: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 < self.low <= self.ratio <= self.high:
            raise ValueError(f"A ratio needs 0 < low <= ratio <= high, but got {self}.")

    @property
    def is_noise(self) -> bool:
        """Whether either trial may be the faster one."""
        return self.low <= 1.0 <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPair:
    """Two trials of one study, compared.

    `top1` is None unless both are trained to the end and it is known on how many images. `dominates` is the number of
    the trial that is at least as good in both by the numbers alone, None where each has something for it.
    """

    first: TrialRecord
    second: TrialRecord
    differences: tuple[ConfigDifference, ...]
    top1: Difference | None
    latency: LatencyRatio
    dominates: int | None


def trial_pair(study: StudyRecord, first: TrialRecord, second: TrialRecord, top1: Difference | None) -> TrialPair:
    """Puts two trials side by side.

    Raises:
        UsageError: see `check_comparable`.
    """
    check_comparable(study, first, second)
    return TrialPair(
        first=first,
        second=second,
        differences=config_differences(first.config, second.config),
        top1=top1,
        latency=LatencyRatio(
            ratio=first.latency.mean_ms / second.latency.mean_ms,
            low=first.latency.low_ms / second.latency.high_ms,
            high=first.latency.high_ms / second.latency.low_ms,
        ),
        dominates=_dominating(first, second),
    )


def check_comparable(study: StudyRecord, first: TrialRecord, second: TrialRecord) -> None:
    """Refuses what cannot be compared, before anything is evaluated for it.

    Raises:
        UsageError: they are the same, or one of them is no model of one schedule.
    """
    if first.number == second.number:
        raise UsageError(f"trial {first.number} of study {study.name!r} was given twice; name two trials to compare")
    for trial in (first, second):
        if trial.origin is Origin.ELASTIC:
            raise UsageError(
                f"trial {trial.number} of study {study.name!r} trained one set of weights for many schedules, and its "
                f"top-1 is a mean over them: name two trials of one schedule each"
            )


def config_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[ConfigDifference, ...]:
    """The keys, dotted and sorted, in which two configurations differ."""
    flat_1, flat_2 = flattened(first), flattened(second)
    return tuple(
        ConfigDifference(key=key, first=flat_1.get(key), second=flat_2.get(key))
        for key in sorted({*flat_1, *flat_2})
        if flat_1.get(key) != flat_2.get(key)
    )


def flattened(value: Any, key: str = "") -> dict[str, Any]:
    """Nested tables and lists as one level, such as `pruning.schedule.stages.0.keep_rate`."""
    if isinstance(value, Mapping):
        items = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = [(str(place), item) for place, item in enumerate(value)]
    else:
        return {key: value}
    return {path: leaf for name, item in items for path, leaf in flattened(item, f"{key}.{name}".lstrip(".")).items()}


def _dominating(first: TrialRecord, second: TrialRecord) -> int | None:
    if first.top1 is None or second.top1 is None:
        return None
    points = [
        ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency.mean_ms)
        for trial in (first, second)
        if trial.top1 is not None
    ]
    one, other = points
    if one.dominates(other):
        return one.number
    return other.number if other.dominates(one) else None
