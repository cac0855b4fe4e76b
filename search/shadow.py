"""A copy of the study in memory, which the samplers are asked on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search.outcomes import CURVE, DIRECTIONS
from search.records import Origin, TrialRecord, TrialState
from search.space import SearchSpace

UNLEARNT = frozenset({Origin.ELASTIC, Origin.FINISHED})


class Shadow:
    """Holds every trial that samplers may learn from, and every rejected draw as FAIL, which samplers ignore.

    What was proposed and has not ended yet is running. The shadow of a resumed study is rebuilt from its records.
    """

    def __init__(self, space: SearchSpace) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._study = optuna.create_study(directions=list(DIRECTIONS), pruner=optuna.pruners.NopPruner())
        self._numbers: dict[int, int] = {}

    @property
    def trials(self) -> tuple[optuna.trial.FrozenTrial, ...]:
        """The trials as the sampler knows them."""
        return tuple(self._study.get_trials(deepcopy=False))

    def ask(self, sampler: optuna.samplers.BaseSampler) -> optuna.Trial:
        """The next trial, whose parameters a sampler draws unless some were enqueued."""
        self._study.sampler = sampler
        return self._study.ask()

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """What the next trial is, instead of what a sampler draws."""
        self._study.enqueue_trial(dict(params))

    def reject(self, trial: optuna.Trial) -> None:
        """A draw is not to become a trial."""
        self._study.tell(trial, state=OptunaState.FAIL)

    def accept(self, number: int, trial: optuna.Trial) -> None:
        """A draw becomes trial `number` of the study."""
        self._numbers[number] = trial.number

    def add(self, record: TrialRecord) -> None:
        """Tells of a trial that was not drawn here: an earlier or a repeated one.

        Baselines are left out: they lie off the space, and one trial without parameters would make Optuna's samplers
        take all parameters for unrelated. Failed trials are left out since samplers ignore them, and finished ones
        since they were trained for longer than what is proposed; elastic ones have no schedule of their own.
        """
        if not record.params or record.state is TrialState.FAIL or record.origin in UNLEARNT:
            return
        try:
            with warnings.catch_warnings(action="ignore"):
                copy = self._copy(record)
        except ValueError:  # it is of an earlier generation, whose space was another
            return
        self._study.add_trial(copy)
        self._numbers[record.number] = len(self._study.get_trials(deepcopy=False)) - 1

    def end(self, record: TrialRecord) -> None:
        """Tells how a trial ended; nothing where it was left out."""
        number = self._numbers.pop(record.number, None)
        if number is None:
            return
        trial_id = self._study.get_trials(deepcopy=False)[number]._trial_id
        optuna.trial.Trial(self._study, trial_id).set_user_attr(CURVE, list(record.curve))
        if record.state is TrialState.COMPLETE and record.top1 is not None:
            self._study.tell(number, values=[record.top1, record.latency.mean_ms])
        else:
            self._study.tell(number, state=OptunaState[record.state.name])

    def _copy(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        is_complete = record.state is TrialState.COMPLETE and record.top1 is not None
        return create_trial(
            state=OptunaState[record.state.name],
            values=[record.top1, record.latency.mean_ms] if is_complete else None,
            params=dict(record.params),
            distributions=self._space.distributions(record.params),
            user_attrs={CURVE: list(record.curve)},
        )
