"""Real Ray, real trainings of a tiny model: elastic trials, and schedules that go on from their weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.records import Origin
from search.study import read_study
from search.verify import Expected, verify_study

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).parent / "auto_search.py"
NUM_TRIALS, NUM_BANDS = 4, 3


def test_schedules_are_trained_further_from_elastic_weights(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(tmp_path), "auto"]
    subprocess.run(command, env=environment, check=True, timeout=280)
    study = read_study(tmp_path / "auto")
    assert len(study.elastic) == 2
    assert all(trial.priced and trial.num_epochs == 4 for trial in study.elastic)
    best = max(study.elastic, key=lambda trial: (trial.top1, -trial.number))
    further = [trial for trial in study.finished if trial.origin is not Origin.BASELINE]
    assert len(further) == NUM_TRIALS
    assert sum(trial.origin is Origin.CONTENDER for trial in further) == NUM_BANDS
    assert all(f"/trials/{best.number}/" in trial.config["start"]["path"] for trial in further)
    assert all(trial.estimated_top1 is not None for trial in further)
    assert verify_study(tmp_path / "auto", Expected()).violations == ()
