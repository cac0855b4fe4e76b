"""Trials of two workers on real Ray: trained to the end, through accidents of either, and everything is given back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from team_search import EPOCHS, FATES, NUM_TRIALS, NUM_WORKERS

from search.records import TrialState
from search.retries import root_of
from search.study import read_study

pytestmark = [pytest.mark.large, pytest.mark.integration]
SCRIPT = Path(__file__).parent / "team_search.py"
EVERY_EPOCH = [f"epoch {number}" for number in range(1, EPOCHS + 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def found(folder):
    """What Ray had free after the searches."""
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1] / "search"), str(SCRIPT.parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def attempts(folder, found):
    """The trials of the first study by the folder that they and their repetitions share."""
    attempts = {}
    for trial in read_study(folder / "eventful").trials:
        attempts.setdefault(str(root_of(trial)), []).append(trial)
    return attempts


def _story(folder, name):
    return (folder / "eventful" / "trials" / name / "story.log").read_text().splitlines()


def test_every_trial_has_an_end(attempts):
    assert attempts.keys() == {"0"} | FATES.keys()
    assert len(attempts) == NUM_TRIALS + 1


def test_a_trial_without_accident_is_trained_by_both(folder, attempts):
    (trial,) = attempts["0"]
    assert (trial.state, trial.num_epochs) == (TrialState.COMPLETE, EPOCHS)
    assert _story(folder, "0") == EVERY_EPOCH
    assert {path.name for path in (folder / "eventful" / "trials" / "0").glob("checkpoint-*")} == {
        f"checkpoint-{number:06d}" for number in (EPOCHS - 1, EPOCHS)
    }


@pytest.mark.parametrize("name", ["1", "6"])
def test_what_any_worker_raises_is_the_configurations_fault(folder, attempts, name):
    (trial,) = attempts[name]
    victim, _ = FATES[name]
    expected = f"RuntimeError: this configuration cannot be trained, finds worker {victim}"
    assert (trial.state, trial.reason, trial.num_epochs) == (TrialState.PRUNED, expected, 1)
    traceback = (folder / "eventful" / "trials" / name / "error.txt").read_text()
    assert "in _have" in traceback
    assert ("Raised in worker 1" in traceback) == (victim == 1)


@pytest.mark.parametrize(
    ("name", "reason"), [("2", "worker 1 of 2 was lost"), ("4", "the data went away"), ("7", "lost")]
)
def test_a_worker_that_dies_or_loses_its_data_takes_the_trial_to_its_checkpoint(folder, attempts, name, reason):
    lost, again = attempts[name]
    assert (lost.state, lost.num_epochs) == (TrialState.FAIL, 1)
    assert reason in lost.reason
    assert (again.state, again.num_epochs) == (TrialState.COMPLETE, EPOCHS)
    assert again.curve[:1] == lost.curve
    assert _story(folder, name) == [EVERY_EPOCH[0], FATES[name][1], *EVERY_EPOCH[1:]]  # no epoch was trained twice


def test_a_search_that_ended_has_given_everything_back(found):
    assert found["eventful"] == {"free": found["all"], "groups": []}
    assert found["all"]["CPU"] >= NUM_WORKERS


def test_a_search_that_was_stopped_within_an_epoch_has_given_everything_back(folder, found):
    assert found["stopped"] == {"free": found["all"], "groups": []}
    assert {trial.state for trial in read_study(folder / "stopped").trials} == {TrialState.FAIL}
