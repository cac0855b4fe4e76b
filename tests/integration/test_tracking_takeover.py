"""F25: a driver is taken over from while its tracker lives: its late events, its process and its run ids do no harm."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import give_mlflow_database

from search.driver_holder import Holder
from search.failures import Failure
from search.records import TrialState
from search.spool import Spool
from search.tracking import MlflowTracker
from search.tracking_place import SPOOL_FILE, default_tracking_uri
from spvit.errors import StudyLockedError

pytestmark = [pytest.mark.large, pytest.mark.integration, pytest.mark.faults]


def _wait_for(condition, what):
    deadline_s = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def _refuse(*_):
    raise StudyLockedError("it was taken over")


def _by(study, token):
    """The study as the driver with a token sees it when it begins."""
    return replace(study, driver=Holder.here(token=token))


@pytest.fixture
def directory(study):
    path = Path(study.directory)
    path.mkdir(parents=True)
    give_mlflow_database(path.parent)
    return path


def test_late_events_of_a_driver_that_was_taken_over_from_are_left_out(study, directory, caplog):
    running = replace(study.trials[1], state=TrialState.RUNNING, top1=None, curve=())
    old = MlflowTracker(directory, close_timeout_s=120)
    old.on_open(_refuse, _refuse)
    old.on_study_start(_by(replace(study, trials=()), 1))
    old.on_trial_start(running)
    old.on_epoch(replace(running, curve=(81.0,)), {"epoch": 1, "val_top1": 81.0})
    _wait_for(lambda: _is_drained(directory), "nothing was written")
    writer = Path("/proc") / str(old.writer_pid)

    # The old driver noted two epochs in the study and told one of them when the new one took its place.
    lost = replace(running, state=TrialState.FAIL, curve=(81.0, 82.0), failure=Failure.INTERRUPTED)
    heard = {}
    new = MlflowTracker(directory, close_timeout_s=120)
    new.on_open(heard.__setitem__, lambda _: None)
    new.on_study_start(_by(replace(study, trials=(lost,)), 2))
    old.on_epoch(replace(running, curve=(81.0, 82.0)), {"epoch": 2, "val_top1": 82.0})
    old.on_trial_start(running)
    _wait_for(lambda: _is_drained(directory), "the new driver's process waits for the old one's")
    old.on_trial_start(running)
    assert not writer.exists() or (writer / "stat").read_text().split()[2] == "Z"  # it gave way by itself
    old.close()
    new.on_study_end(_by(replace(study, trials=(lost,)), 2))
    new.close()

    runs = _runs(study, directory)
    assert set(heard) == {None, lost.number}
    assert runs[str(lost.number)].info.run_id == heard[lost.number]
    assert runs[str(lost.number)].data.tags["spvit.state"] == "FAIL"
    assert _points(directory, runs[str(lost.number)]) == [(1, 81.0), (2, 82.0)]
    told = [record.message for record in caplog.records]
    assert told == [f"{directory / SPOOL_FILE}: what a driver wrote after it had been taken over from was left out"]


def _is_drained(directory):
    return Spool(directory / SPOOL_FILE).is_drained


def _client(directory):
    from mlflow import MlflowClient

    return MlflowClient(default_tracking_uri(directory.parent))


def _runs(study, directory):
    client = _client(directory)
    experiment = client.get_experiment_by_name(f"spvit/{study.name}")
    return {run.data.tags.get("spvit.trial"): run for run in client.search_runs([experiment.experiment_id])}


def _points(directory, run):
    return sorted((p.step, p.value) for p in _client(directory).get_metric_history(run.info.run_id, "top1"))
