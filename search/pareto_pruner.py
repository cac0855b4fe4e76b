"""An Optuna pruner for quality against a latency that is known: stops what can no longer reach the front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.final_bound import final_bound

LatencyOf = Callable[[FrozenTrial], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hopeless:
    """Why a trial cannot reach the front.

    Attributes:
        step: after which it was judged.
        bound: the best that its last value may be, at `confidence`; in the study's unit.
        latency_ms: its latency.
        confidence: of the bound.
        rival: number of the finished trial above the bound; None if the trial is over the cap.
        rival_value: that trial's last value.
        rival_latency_ms: that trial's latency, not above the trial's own; the cap if there is no rival.
    """

    step: int
    bound: float
    latency_ms: float
    confidence: float
    rival: int | None
    rival_value: float
    rival_latency_ms: float

    def to_text(self, *, step: str = "step", unit: str = "") -> str:
        """One sentence, numbers followed by their unit, such as " %"."""
        if self.rival is None:
            return f"at {step} {self.step}: {self.latency_ms:.2f} ms is above the cap of {self.rival_latency_ms:.2f} ms"
        decimals = _decimals(self.bound, self.rival_value)
        return (
            f"at {step} {self.step}: {100 * self.confidence:g} % upper bound {self.bound:.{decimals}f}{unit} at "
            f"{self.latency_ms:.2f} ms lies under trial {self.rival}, {self.rival_value:.{decimals}f}{unit} at "
            f"{self.rival_latency_ms:.2f} ms"
        )


class ParetoPruner(BasePruner):  # type: ignore[misc]  # Optuna is not followed by mypy here
    """Stops a trial if the upper bound of its last value lies under a finished trial that is as fast or faster.

    The bound is extrapolated from the trial's own curve and from what finished trials gained after the same step, see
    `search.final_bound`; with fewer than five of those nothing is stopped. A trial that is ahead of every finished one
    as fast or faster at its step is never stopped. Decisions are a function of the study and the trial alone: the
    pruner keeps nothing but finished trials as arrays, so a copy or one made after a restart decides the same.

    The first direction of the study is the quality's; either direction will do. Trials must report at the same steps.
    Studies with two objectives cannot report intermediate values, so their curves are kept in a user attribute, and
    the pruner is asked directly.

    Example:
        >>> pruner = ParetoPruner("latency_ms")
        >>> study = optuna.create_study(direction="maximize", pruner=pruner)
        >>> trial.set_user_attr("latency_ms", 11.2)  # then trial.report(accuracy, epoch); trial.should_prune()

        >>> pruner = ParetoPruner("latency_ms", curve="curve")  # two objectives
        >>> trial.set_user_attr("curve", [70.1, 74.9])  # the values after steps 1, 2, ...
        >>> stop = pruner.prune(study, study.get_trials(deepcopy=False)[trial.number])
    """

    def __init__(
        self,
        latency_ms: LatencyOf | str,
        *,
        max_latency_ms: float | None = None,
        confidence: float = 0.99,
        n_warmup_steps: int = 1,
        curve: str | None = None,
    ) -> None:
        """Makes a pruner; it is picklable if its function is.

        Args:
            latency_ms: a trial's latency in milliseconds, as a function of the trial or the name of a user attribute.
            max_latency_ms: slower trials are no part of the front: they are stopped, and stop nobody.
            confidence: of the upper bound, one-sided, for each step at which a trial is judged.
            n_warmup_steps: trials are never stopped at this step or an earlier one.
            curve: the user attribute that holds the values after steps 1, 2, ...; intermediate values if None.

        Raises:
            ValueError: a number is out of range.
        """
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"confidence must lie between 0 and 1, but got {confidence}")
        if n_warmup_steps < 0:
            raise ValueError(f"n_warmup_steps must be 0 or more, but got {n_warmup_steps}")
        self._latency_ms = latency_ms
        self._max_latency_ms = math.inf if max_latency_ms is None else float(max_latency_ms)
        if not self._max_latency_ms > 0:
            raise ValueError(f"max_latency_ms must be above 0, but got {max_latency_ms}")
        self._confidence = confidence
        self._n_warmup_steps = n_warmup_steps
        self._curve_attr = curve
        self._known: dict[int, tuple[FrozenTrial, float, _Finished | None]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial, which is of the study and may be running.

        Raises:
            ValueError: the trial has no latency.
        """
        return self.judge(study, trial) is not None

    def judge(self, study: Study, trial: FrozenTrial) -> Hopeless | None:
        """As `prune`, with the reason; None if the trial may go on.

        Raises:
            ValueError: the trial has no latency.
        """
        curve = self._curve(trial)
        if not curve or max(curve) <= self._n_warmup_steps or not all(map(math.isfinite, curve.values())):
            return None
        latency_ms, step = self._latency(trial), max(curve)
        if latency_ms > self._max_latency_ms:
            return self._hopeless(step, math.nan, latency_ms, None)
        sign = 1.0 if study.directions[0] is StudyDirection.MAXIMIZE else -1.0
        finished = [self._remembered(other, sign) for other in _complete(study, trial)]
        rivals = [other for other in finished if other is not None and other.latency_ms <= latency_ms]
        if not rivals:
            return None
        best = max(rivals, key=lambda rival: (rival.last, -rival.latency_ms, -rival.number))
        own = {at: sign * value for at, value in curve.items()}
        if own[step] >= best.last or own[step] >= max(rival.value_at(step) for rival in rivals):
            return None
        bound = self._bound(own, latency_ms, [other for other in finished if other is not None])
        return None if bound >= best.last else self._hopeless(step, sign * bound, latency_ms, best, sign)

    def _bound(self, own: Mapping[int, float], latency_ms: float, finished: Sequence[_Finished]) -> float:
        """Of the last value, from the trials that went furthest and have reported at all of this one's steps."""
        steps = tuple(sorted(own))
        end = max(other.end for other in finished)
        if steps[-1] >= end:
            return math.inf
        alike = [other for other in finished if other.end == end and other.has(steps)]
        ends = np.empty((len(alike), len(steps) + 1))
        for row, other in zip(ends, alike, strict=True):
            row[:-1], row[-1] = other.values_at(steps), other.last
        return final_bound(
            np.array([own[step] for step in steps]),
            latency_ms,
            ends,
            np.array([other.latency_ms for other in alike]),
            confidence=self._confidence,
        )

    def _remembered(self, trial: FrozenTrial, sign: float) -> _Finished | None:
        """A finished trial does not change: of a thousand only the newest is looked at anew."""
        known = self._known.get(trial.number)
        if known is None or known[0] is not trial or known[1] != sign:
            known = self._known[trial.number] = (trial, sign, self._finished(trial, sign))
        return known[2]

    def _finished(self, trial: FrozenTrial, sign: float) -> _Finished | None:
        """A finished trial as far as it counts: one on the feasible side, of finite values, with a curve."""
        curve, latency_ms, last = self._curve(trial), self._latency(trial), float(trial.values[0])
        is_finite = math.isfinite(last) and all(map(math.isfinite, curve.values()))
        if not curve or not is_finite or latency_ms > self._max_latency_ms:
            return None
        steps = tuple(sorted(curve))
        values = sign * np.array([curve[step] for step in steps], dtype=np.float64)
        return _Finished(number=trial.number, latency_ms=latency_ms, steps=steps, values=values, last=sign * last)

    def _curve(self, trial: FrozenTrial) -> dict[int, float]:
        if self._curve_attr is None:
            return dict(trial.intermediate_values)
        return {step: float(value) for step, value in enumerate(trial.user_attrs.get(self._curve_attr, ()), start=1)}

    def _latency(self, trial: FrozenTrial) -> float:
        if callable(self._latency_ms):
            latency_ms = float(self._latency_ms(trial))
        else:
            latency_ms = float(trial.user_attrs.get(self._latency_ms, math.nan))
        if math.isnan(latency_ms):
            raise ValueError(
                f"trial {trial.number} has no latency: set its user attribute {self._latency_ms!r} to milliseconds "
                f"before its first report"
            )
        return latency_ms

    def _hopeless(
        self, step: int, bound: float, latency_ms: float, rival: _Finished | None, sign: float = 1.0
    ) -> Hopeless:
        return Hopeless(
            step=step,
            bound=bound,
            latency_ms=latency_ms,
            confidence=self._confidence,
            rival=None if rival is None else rival.number,
            rival_value=math.nan if rival is None else sign * rival.last,
            rival_latency_ms=self._max_latency_ms if rival is None else rival.latency_ms,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finished:
    """A finished trial: `values` (num_steps,) after its `steps`, which ascend. Of qualities more is better."""

    number: int
    latency_ms: float
    steps: tuple[int, ...]
    values: NDArray[np.float64]
    last: float

    @property
    def end(self) -> int:
        """Its last step."""
        return self.steps[-1]

    def has(self, steps: tuple[int, ...]) -> bool:
        """Whether it reported at all of these steps, which ascend."""
        return self.steps[: len(steps)] == steps or set(self.steps) >= set(steps)

    def values_at(self, steps: tuple[int, ...]) -> NDArray[np.float64]:
        """Its values after these steps, all of which it has."""
        if self.steps[: len(steps)] == steps:
            return self.values[: len(steps)]
        return self.values[np.searchsorted(self.steps, steps)]

    def value_at(self, step: int) -> float:
        """Its value after a step; minus infinity where it has none."""
        if step <= len(self.steps) and self.steps[step - 1] == step:
            return float(self.values[step - 1])
        return float(self.values[self.steps.index(step)]) if step in self.steps else -math.inf


def _complete(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    complete = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
    return [other for other in complete if other.number != trial.number]


def _decimals(bound: float, value: float) -> int:
    """As many as tell the two apart: 1 to 4."""
    return next((n for n in (1, 2, 3) if f"{bound:.{n}f}" != f"{value:.{n}f}"), 4)
