"""The trials that a trial is compared with, in the form in which Optuna's pruners want a study."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.records import TrialRecord

STUDY_ID = 0
LATENCY_MS = "latency_ms"
"""The user attribute of a peer that holds its predicted latency."""


def peer_study(name: str, trials: Iterable[FrozenTrial]) -> optuna.Study:
    """A study that maximises top-1 and consists of these trials. Costs nothing to make: it only refers to them."""
    return optuna.Study(study_name=name, storage=_PeerStorage(name, trials), pruner=optuna.pruners.NopPruner())


def as_peer(record: TrialRecord) -> FrozenTrial:
    """A trial as a pruner sees it: one objective, its curve as intermediate values from epoch 1."""
    return FrozenTrial(
        number=record.number,
        trial_id=record.number,
        state=OptunaState[record.state.name],
        value=record.top1,
        datetime_start=datetime.fromtimestamp(record.started_at or 0.0),  # noqa: DTZ006 - Optuna's times are naive
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={LATENCY_MS: record.latency.mean_ms},
        system_attrs={},
        intermediate_values=dict(enumerate(record.curve, start=1)),
    )


class _PeerStorage:
    """As much of `optuna.storages.BaseStorage` as pruners use; none of them writes anything but rungs."""

    def __init__(self, name: str, trials: Iterable[FrozenTrial]) -> None:
        self._name = name
        self._trials = {trial._trial_id: trial for trial in trials}

    def get_study_id_from_name(self, study_name: str) -> int:  # noqa: ARG002
        return STUDY_ID

    def get_study_name_from_id(self, study_id: int) -> str:  # noqa: ARG002
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:  # noqa: ARG002
        return [StudyDirection.MAXIMIZE]

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,  # noqa: ARG002
        states: Container[OptunaState] | None = None,
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials.values() if states is None or trial.state in states]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        finished = self.get_all_trials(study_id, states=(OptunaState.COMPLETE,))
        if not finished:
            raise ValueError("no trial was trained to the end yet")  # what Optuna expects
        return max(finished, key=lambda trial: (trial.value, -trial.number))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._trials[trial_id].system_attrs[key] = value
