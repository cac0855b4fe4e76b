"""A real MLflow server that asks for a password, and goes away at the start, in the middle and the whole time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import give_mlflow_database
from mlflow_server import PASSWORD, USER, gated_server

from search.records import TrialState
from search.spool import Spool
from search.tracking import MlflowTracker
from search.tracking_place import SPOOL_FILE

pytestmark = [pytest.mark.large, pytest.mark.integration]
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    give_mlflow_database(folder)
    with gated_server(folder) as gate:
        yield gate


@pytest.fixture(autouse=True)
def login(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def directory(study):
    """The study's folder; its name is the experiment's at the server, so it is one for each test."""
    path = Path(study.directory).with_name(f"study{time.monotonic_ns()}")
    path.mkdir(parents=True)
    return path


def begin(tracker, study):
    tracker.on_study_start(replace(study, trials=()))


def play_trial(tracker, trial):
    tracker.on_trial_start(replace(trial, state=TrialState.RUNNING, top1=None, curve=(), reason=""))
    for epoch, top1 in enumerate(trial.curve, start=1):
        tracker.on_epoch(replace(trial, curve=trial.curve[:epoch]), {"epoch": epoch, "val_top1": top1})
    tracker.on_trial_end(trial)


def wait_for(condition, what):
    deadline_s = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def is_drained(directory):
    return Spool(directory / SPOOL_FILE).is_drained


def check_everything_is_there(gate, study, directory):
    """Each trial once, with the state that it ended in, and each of its epochs once."""
    from mlflow import MlflowClient

    client = MlflowClient(gate.uri)
    experiment = client.get_experiment_by_name(f"spvit/{directory.name}")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags.get("spvit.trial", "") for run in runs) == ["", *(str(t.number) for t in study.trials)]
    by_trial = {run.data.tags.get("spvit.trial"): run for run in runs}
    for trial in study.trials:
        run = by_trial[str(trial.number)]
        assert run.info.status == STATUS[trial.state]
        history = client.get_metric_history(run.info.run_id, "top1") if trial.curve else []
        assert [(point.step, point.value) for point in history] == list(enumerate(trial.curve, start=1))
    return by_trial


def test_a_server_that_goes_away_in_the_middle_gets_everything_when_it_is_back(gate, study, directory, caplog):
    said, refused = [], gate.num_refused
    tracker = MlflowTracker(directory, uri=gate.uri, close_timeout_s=120, on_address=said.append)
    begin(tracker, study)
    play_trial(tracker, study.trials[0])
    wait_for(lambda: is_drained(directory), "nothing was written")
    gate.shut()
    for trial in study.trials[1:4]:
        play_trial(tracker, trial)
    time.sleep(1.5)
    gate.num_to_lose = 1  # the first run that is made afterwards is made, but its maker is not told
    gate.open()
    for trial in study.trials[4:]:
        play_trial(tracker, trial)
    wait_for(lambda: is_drained(directory), "it was not written when the server was back")
    tracker.on_study_end(study)
    tracker.close()

    runs = check_everything_is_there(gate, study, directory)
    assert gate.num_to_lose == 0
    assert runs[None].info.status == "FINISHED"
    assert sum("cannot be written" in record.message for record in caplog.records) == 1
    assert gate.num_refused == refused
    assert f"/#/experiments/{runs[None].info.experiment_id}/runs?" in said[0]
    assert PASSWORD not in " ".join([*said, *(record.message for record in caplog.records)])


def test_a_server_that_is_away_the_whole_time_gets_everything_from_the_next_session(gate, study, directory):
    gate.shut()
    try:
        tracker = MlflowTracker(directory, uri=gate.uri, close_timeout_s=20)
        begin(tracker, study)
        for trial in study.trials:
            play_trial(tracker, trial)
        tracker.on_study_end(study)
        tracker.close()
        assert not is_drained(directory)
    finally:
        gate.open()
    later = MlflowTracker(directory, uri=gate.uri, close_timeout_s=120)
    later.on_study_start(study)
    later.on_study_end(study)
    later.close()
    check_everything_is_there(gate, study, directory)


def test_a_wrong_password_costs_the_search_nothing_and_is_said(gate, study, directory, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    tracker = MlflowTracker(directory, uri=gate.uri, close_timeout_s=60)
    begin(tracker, study)
    tracker.close()
    assert "who are you?" in " ".join(record.message for record in caplog.records)


DRIVER = """
import os, pickle, signal, sys
from pathlib import Path
from search.tracking import MlflowTracker
study, uri = pickle.loads(sys.stdin.buffer.read())
tracker = MlflowTracker(Path(sys.argv[1]), uri=uri)
tracker.on_study_start(study)
print(tracker.writer_pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_driver_that_is_killed_leaves_no_process_and_nothing_unwritten(gate, study, directory):
    import pickle

    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, str(directory)],
        check=False,
        env=environment,
        input=pickle.dumps((study, gate.uri)),
        capture_output=True,
    )
    assert driver.returncode == -signal.SIGKILL
    writer = Path("/proc") / driver.stdout.decode().strip()
    assert PASSWORD.encode() not in (writer / "cmdline").read_bytes()
    wait_for(lambda: not writer.exists(), "the process went on without its driver")
    assert is_drained(directory)


def test_a_writer_that_is_killed_is_started_again(gate, study, directory):
    tracker = MlflowTracker(directory, uri=gate.uri, close_timeout_s=120)
    begin(tracker, study)
    first = tracker.writer_pid
    os.kill(first, signal.SIGKILL)
    time.sleep(1.1)  # not more often than once a second
    for trial in study.trials:
        play_trial(tracker, trial)
    assert tracker.writer_pid not in {None, first}
    tracker.on_study_end(study)
    tracker.close()
    assert tracker.writer_pid is None
    check_everything_is_there(gate, study, directory)
    shutil.rmtree(directory)
