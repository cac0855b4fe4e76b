"""What the trials of a two-objective study say about quality, finished or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

DIRECTIONS = ("maximize", "minimize")
"""Quality, then latency: the order of a trial's values."""
CURVE = "curve"
"""User attribute that holds a trial's quality after every epoch."""
FIXED_PARAMS = "fixed_params"
"""Where Optuna keeps the parameters of an enqueued trial until the trial asks for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One trial's parameters and quality; `quality` is None while nothing is known of it."""

    params: Mapping[str, Any]
    quality: float | None = None


def outcomes(trials: Sequence[FrozenTrial]) -> list[Outcome]:
    """What every trial but the failed ones says.

    A pruned trial counts as what it would have reached: its last value plus the median gain that finished trials made
    after that epoch. Without a curve, or after a divergence, it counts as the worst finished trial, so that samplers
    keep away from where it was.
    """
    finished = [t for t in trials if t.state is TrialState.COMPLETE and np.isfinite(t.values[0])]
    asked = [trial for trial in trials if trial.state is not TrialState.FAIL and params_of(trial)]
    return [Outcome(params=params_of(trial), quality=_quality(trial, finished)) for trial in asked]


def params_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """A trial's parameters, those it was enqueued with if it has not asked for any."""
    return trial.params or fixed_params(trial)


def fixed_params(trial: FrozenTrial) -> Mapping[str, Any]:
    """The parameters that a trial was enqueued with; none if it was not."""
    fixed: Mapping[str, Any] = trial.system_attrs.get(FIXED_PARAMS, {})
    return fixed


def _quality(trial: FrozenTrial, finished: Sequence[FrozenTrial]) -> float | None:
    if not trial.state.is_finished() or not finished:
        return None
    if trial.state is TrialState.COMPLETE and np.isfinite(trial.values[0]):
        return float(trial.values[0])
    return _forecast(_curve(trial), finished)


def _forecast(curve: Sequence[float], finished: Sequence[FrozenTrial]) -> float:
    if not curve or not np.all(np.isfinite(curve)):
        return float(min(trial.values[0] for trial in finished))
    longer = [trial for trial in finished if len(_curve(trial)) >= len(curve)]
    gains = [trial.values[0] - _curve(trial)[len(curve) - 1] for trial in longer]
    return float(curve[-1] + (np.median(gains) if gains else 0.0))


def _curve(trial: FrozenTrial) -> Sequence[float]:
    """The trial's quality per epoch; its intermediate values if it has no curve."""
    curve: Sequence[float] = trial.user_attrs.get(CURVE) or list(trial.intermediate_values.values())
    return curve


def num_complete(trials: Iterable[FrozenTrial]) -> int:
    """Trials that were trained to their end."""
    return sum(trial.state is TrialState.COMPLETE for trial in trials)
