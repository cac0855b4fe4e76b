"""Real Ray, real trainings of a tiny model: elastic trials, and schedules that go on from their weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from settled import violations

from search.records import Origin, TrialState
from search.study import read_study
from search.trial_model import load_trial_model
from search.verify import Expected

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).parent / "auto_search.py"
NUM_TRIALS, NUM_BANDS = 5, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes")
    run(folder)
    return folder


def run(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), "auto", *arguments]
    subprocess.run(command, env=environment, check=True, timeout=540)


def test_schedules_are_trained_further_from_elastic_weights(folder):
    study = read_study(folder / "auto")
    assert len(study.elastic) == 2
    assert all(trial.priced and trial.num_epochs == 4 for trial in study.elastic)
    best = max(study.elastic, key=lambda trial: (trial.top1, -trial.number))
    further = [t for t in study.finished if t.origin in {Origin.CONTENDER, Origin.SAMPLER}]
    assert len(further) == NUM_TRIALS
    assert sum(trial.origin is Origin.CONTENDER for trial in further) == NUM_BANDS + 1  # the fastest beside
    assert all(f"/trials/{best.number}/" in trial.config["start"]["path"] for trial in further)
    assert all(trial.estimated_top1 is not None for trial in further)
    assert violations(folder / "auto") == ()


def test_schedules_that_were_priced_alone_are_finished_from_elastic_weights(folder):
    before = read_study(folder / "auto")
    run(folder, "finish")
    after = read_study(folder / "auto")
    added = after.trials[len(before.trials) :]
    assert [(t.origin, t.state, t.num_epochs, t.continues) for t in added] == [
        (Origin.FINISHED, TrialState.COMPLETE, 3, None)
    ] * 2
    model = load_trial_model(after, added[0])
    assert tuple(selection.num_kept for selection in model.plan.selections) == added[0].keep_counts
    assert violations(folder / "auto", Expected(before=before)) == ()


def test_another_search_goes_on_from_the_elastic_weights(folder):
    before = read_study(folder / "auto")
    start = next(trial.config["start"] for trial in before.finished if trial.origin is Origin.CONTENDER)
    run(folder, start["path"])
    study = read_study(folder / "from_weights")
    assert len(study.finished) == NUM_TRIALS + 1  # the fixed schedule beside
    assert study.elastic == ()
    assert {trial.config["start"]["sha256"] for trial in study.finished} == {start["sha256"]}
    assert violations(folder / "from_weights") == ()
