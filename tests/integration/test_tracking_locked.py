"""F24: another process holds MLflow's database while a study is told to it. Nothing is lost, nothing is told twice."""

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import give_mlflow_database

from search.records import TrialState
from search.spool import Spool
from search.tracking import MlflowTracker
from search.tracking_place import SPOOL_FILE, default_tracking_uri

pytestmark = [pytest.mark.large, pytest.mark.integration, pytest.mark.faults]
HELD_S = 8.0


def test_a_database_that_is_locked_for_a_while_has_everything_afterwards(study):
    directory = Path(study.directory)
    directory.mkdir(parents=True)
    give_mlflow_database(directory.parent)
    holder = sqlite3.connect(directory.parent / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    tracker = MlflowTracker(directory, close_timeout_s=120)
    tracker.on_study_start(replace(study, trials=()))
    for trial in study.trials:
        tracker.on_trial_start(replace(trial, state=TrialState.RUNNING, top1=None, curve=(), reason=""))
        for epoch, top1 in enumerate(trial.curve, start=1):
            tracker.on_epoch(replace(trial, curve=trial.curve[:epoch]), {"epoch": epoch, "val_top1": top1})
        tracker.on_trial_end(trial)
    time.sleep(HELD_S)
    assert not Spool(directory / SPOOL_FILE).is_drained
    holder.execute("ROLLBACK")
    holder.close()
    tracker.on_study_end(study)
    tracker.close()
    assert Spool(directory / SPOOL_FILE).is_drained
    _check(study, default_tracking_uri(directory.parent))


def _check(study, uri):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(f"spvit/{study.name}").experiment_id])
    assert sorted(run.data.tags.get("spvit.trial", "") for run in runs) == ["", *map(str, range(len(study.trials)))]
    by_trial = {run.data.tags.get("spvit.trial"): run for run in runs}
    for trial in study.trials:
        run = by_trial[str(trial.number)]
        assert run.data.tags["spvit.state"] == str(trial.state)
        history = client.get_metric_history(run.info.run_id, "top1") if trial.curve else []
        assert [(point.step, point.value) for point in history] == list(enumerate(trial.curve, start=1))
