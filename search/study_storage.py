"""Optuna's storage in a database, writing what belongs together in one transaction and without reading it back."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, bindparam, select, update
from sqlalchemy.orm import Session

CHANGE_ATTR = (
    update(models.TrialUserAttributeModel.__table__)
    .where(
        models.TrialUserAttributeModel.trial_id == bindparam("of_trial"),
        models.TrialUserAttributeModel.key == bindparam("of_key"),
        select(models.TrialModel.trial_id)
        .where(models.TrialModel.trial_id == bindparam("of_trial"), models.TrialModel.state == TrialState.RUNNING)
        .exists(),
    )
    .values(value_json=bindparam("new"))
)
"""An attribute that a trial has already, while it runs."""


class StudyStorage(RDBStorage):  # type: ignore[misc]  # Optuna is not followed here
    """An `RDBStorage` for the one process that writes a study.

    Optuna asks the database twice for each parameter and attribute of a new trial; here they go in together, which
    takes a fifth of the time. What is stored is the same.
    """

    def start_trial(self, study_id: int, template: FrozenTrial) -> FrozenTrial:
        """Stores a running trial with its parameters and user attributes; returns it with its number."""
        return self._create_new_trial(study_id, template)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's own, with one statement instead of four where a running trial has the attribute, as its curve."""
        from json import dumps

        with _create_scoped_session(self.scoped_session) as session:
            given = {"of_trial": trial_id, "of_key": key, "new": dumps(value)}
            num_changed = session.connection().execute(CHANGE_ATTR, given).rowcount
        if not num_changed:
            super().set_trial_user_attr(trial_id, key, value)

    def end_trial(
        self, trial_id: int, state: TrialState, *, values: Sequence[float] = (), attrs: Mapping[str, Any]
    ) -> datetime:
        """Stores how a trial ended, with further user attributes; returns when that was.

        Raises:
            UpdateFinishedTrialError: it had ended before.
        """
        now = datetime.now()  # noqa: DTZ005 - Optuna's times are naive
        with _create_scoped_session(self.scoped_session) as session:
            trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self.check_trial_is_updatable(trial_id, trial.state)
            for key, value in attrs.items():
                self._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial_id, key, value)
            for objective, value in enumerate(values):
                self._set_trial_value_without_commit(session, trial, objective, value)
            trial.state, trial.datetime_complete = state, now
        return now

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        """Stores several user attributes of a study in one transaction."""
        from json import dumps

        with _create_scoped_session(self.scoped_session) as session:
            study = models.StudyModel.find_or_raise_by_id(study_id, session)
            for key, value in attrs.items():
                found = models.StudyUserAttributeModel.find_by_study_and_key(study, key, session)
                if found is None:
                    session.add(models.StudyUserAttributeModel(study_id=study_id, key=key, value_json=dumps(value)))
                else:
                    found.value_json = dumps(value)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        if template_trial is None or template_trial.state is not TrialState.RUNNING:
            return super()._get_prepared_new_trial(study_id, template_trial, session)
        trial = models.TrialModel(
            study_id=study_id, number=None, state=TrialState.RUNNING, datetime_start=template_trial.datetime_start
        )
        session.add(trial)
        session.flush()  # gives it its id
        session.add_all(_parts(trial.trial_id, template_trial))
        trial.number = trial.count_past_trials(session)
        return trial


class MemoryStorage(InMemoryStorage):  # type: ignore[misc]  # Optuna is not followed here
    """The same for a study that ends with this process."""

    def start_trial(self, study_id: int, template: FrozenTrial) -> FrozenTrial:
        """See `StudyStorage.start_trial`."""
        trial: FrozenTrial = self.get_trial(self.create_new_trial(study_id, template))
        return trial

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        """See `StudyStorage.set_study_attrs`."""
        for key, value in attrs.items():
            self.set_study_user_attr(study_id, key, value)

    def end_trial(
        self, trial_id: int, state: TrialState, *, values: Sequence[float] = (), attrs: Mapping[str, Any]
    ) -> datetime:
        """See `StudyStorage.end_trial`."""
        for key, value in attrs.items():
            self.set_trial_user_attr(trial_id, key, value)
        self.set_trial_state_values(trial_id, state, list(values) or None)
        ended: datetime = self.get_trial(trial_id).datetime_complete
        return ended


def _parts(trial_id: int, template: FrozenTrial) -> list[Any]:
    """Rows of a trial's parameters and user attributes. A new trial of ours has no values and no system attributes."""
    from json import dumps

    from optuna.distributions import distribution_to_json

    params = [
        models.TrialParamModel(
            trial_id=trial_id,
            param_name=name,
            param_value=template.distributions[name].to_internal_repr(value),
            distribution_json=distribution_to_json(template.distributions[name]),
        )
        for name, value in template.params.items()
    ]
    attrs = [
        models.TrialUserAttributeModel(trial_id=trial_id, key=key, value_json=dumps(value))
        for key, value in template.user_attrs.items()
    ]
    return params + attrs


class WriteAhead(sqlite3.Connection):
    """A connection to a SQLite file on a local disk that does not wait for the disk at every commit.

    What is committed survives the process, however it ends. When the machine loses power the last commits may be
    missing, never a part of one: their trials are then taken for interrupted and go on from their own checkpoints.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")


def fold_log(engine: Engine) -> None:
    """Leaves a SQLite study as one plain file, which can be read from a read-only folder.

    While others read it, it stays as it is, which does no harm either.
    """
    engine.dispose()
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(engine.url.database or "", timeout=0)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
