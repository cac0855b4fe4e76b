"""Which parameters made a difference: fANOVA on the trials that were trained to the end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from search.records import StudyRecord, TrialRecord

MAX_TRIALS = 300
"""Of more as many as come evenly spread: a forest's time grows with their square, and took a minute for a thousand."""
MIN_TRIALS = 6
"""Fewer say nothing: a forest explains any values of a handful of trials."""
NUM_TREES = 32
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """How much of the variance between trials a parameter explains by itself, as shares that add up to 1.

    Attributes:
        name: of the parameter.
        top1: of top-1.
        beyond_latency: of what top-1 has above or below what trials of the same latency have: what a parameter does
            for a network of a given speed.
    """

    name: str
    top1: float
    beyond_latency: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Importances:
    """The parameters, the one that explains most beyond latency first, and what could not be told."""

    rows: tuple[Importance, ...]
    num_trials: int
    note: str = ""


def importances(study: StudyRecord) -> Importances:
    """The importance of every parameter that all finished trials of the search asked for."""
    trials = [t for t in study.finished if t.params and t.top1 is not None and math.isfinite(t.top1)]
    if len(trials) < MIN_TRIALS:
        return Importances(
            rows=(),
            num_trials=len(trials),
            note=f"{len(trials)} trials of the search space are trained to the end; {MIN_TRIALS} are needed",
        )
    trials = trials[:: math.ceil(len(trials) / MAX_TRIALS)]
    common = [name for name in trials[0].params if all(name in trial.params for trial in trials)]
    varied = [name for name in common if len({trial.params[name] for trial in trials}) > 1]
    others = sorted({name for trial in trials for name in trial.params} - set(varied))
    if not varied:
        return Importances(rows=(), num_trials=len(trials), note="no parameter has more than one value in all trials")
    distributions = {name: _distribution(name, trials, study) for name in varied}
    top1 = np.array([trial.top1 for trial in trials], dtype=float)
    whole = _shares(trials, distributions, top1)
    beyond = _shares(trials, distributions, beyond_latency(top1, [t.latency.mean_ms for t in trials]))
    rows = [Importance(name=name, top1=whole[name], beyond_latency=beyond[name]) for name in varied]
    return Importances(
        rows=tuple(sorted(rows, key=lambda row: -row.beyond_latency)),
        num_trials=len(trials),
        note=f"not told for {', '.join(others)}: not every trial has them, or with one value only" if others else "",
    )


def beyond_latency(top1: Values, latencies_ms: Sequence[float]) -> Values:
    """Top-1 (num_trials,) less the parabola in the log of latency that fits it best."""
    log_ms = np.log(np.array(latencies_ms, dtype=float))
    if np.ptp(log_ms) < 1e-9:
        return np.asarray(top1 - top1.mean(), dtype=np.float64)
    centred = (log_ms - log_ms.mean()) / np.ptp(log_ms)
    terms = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    coefficients, *_ = np.linalg.lstsq(terms, top1, rcond=None)
    residual: Values = top1 - terms @ coefficients
    return residual


def _shares(
    trials: Sequence[TrialRecord], distributions: Mapping[str, BaseDistribution], values: Values
) -> dict[str, float]:
    """All 0 where the values do not differ."""
    if np.ptp(values) < 1e-9:
        return dict.fromkeys(distributions, 0.0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for trial, value in zip(trials, values, strict=True):
        params = {name: trial.params[name] for name in distributions}
        study.add_trial(create_trial(params=params, distributions=dict(distributions), value=float(value)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, where a tree explains nothing
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(found.get(name, 0.0)) for name in distributions}


def _distribution(name: str, trials: Sequence[TrialRecord], study: StudyRecord) -> BaseDistribution:
    """The range that the trials cover, on the scale that the search explored it on."""
    values: list[Any] = [trial.params[name] for trial in trials]
    if any(isinstance(value, str | bool) for value in values) or "choices" in _told(name, study):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    is_log = bool(_told(name, study).get("log"))
    if all(isinstance(value, int) for value in values):
        return IntDistribution(min(values), max(values), log=is_log)
    return FloatDistribution(min(values), max(values), log=is_log)


def _told(name: str, study: StudyRecord) -> Mapping[str, Any]:
    """What the study's experiment says of a parameter; nothing of those that make up a schedule."""
    space = study.experiment.get("search", {}).get("space", {})
    tables = [space.get(section) or {} for section in ("pruning", "losses", "training")]
    found: Mapping[str, Any] = next((table[name] for table in tables if name in table), {})
    return found
