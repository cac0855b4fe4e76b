"""`plan` on a small experiment of real data, and a real search that a time limit ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call_here, write_experiment

from search.records import EndCause, TrialState
from search.retries import INTERRUPTED
from search.study import read_study

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).parent / "tabulated_search.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plan")


@pytest.fixture(scope="module")
def experiment(folder):
    changes = ("max_latency_share = 0.6", "max_latency_share = [0.6, 0.8]"), ("time_limit_s = 8", "time_limit_s = 3")
    return write_experiment(folder, "small", *changes)


@pytest.fixture(scope="module")
def plan(experiment):
    """Measures the table first, as `launch` does."""
    return json.loads(call_here("plan", experiment, "--json")[0])


def test_a_plan_says_what_can_be_reached_and_what_it_costs(plan, folder):
    reach = plan["reach"]
    assert reach["count"] == {"num_schedules": 9880, "num_forms": 1, "num_networks": 9880}
    assert reach["cheapest"]["is_exact"]
    assert reach["cheapest"]["latency"]["mean_ms"] <= reach["drawn_ms"][0] + 1e-9
    assert [b["max_latency_ms"] / reach["dense"]["mean_ms"] for b in reach["budgets"]] == pytest.approx([0.6, 0.8])
    assert 0 < reach["budgets"][0]["feasible"]["share"] < reach["budgets"][1]["feasible"]["share"]
    assert plan["cost"]["steps_per_epoch"] == 4
    assert plan["forecast"]["num_trials"] == 9
    assert plan["forecast"]["num_epochs"] == {"low": 8 * 2 + 3, "high": 27, "middle": None}
    assert 0 < plan["forecast"]["hours"]["low"] < plan["forecast"]["hours"]["high"]
    assert plan["fit"]["num_at_once"] == 2
    assert sorted(path.name for path in (folder / "runs" / "small").glob("*.json")) == [
        "latency_table.json",
        "plan.json",
    ]


def test_a_plan_knows_that_elastic_trials_come_first(plan, experiment):
    changes = ["--set", "search.mode=auto", "--set", "latency.on_drift=warn", "--no-profile", "--json"]
    found = json.loads(call_here("plan", experiment, *changes)[0])
    load = found["elastic"]
    assert (load["num_trials"], load["num_epochs"]) == (2, 6)  # with either learning rate
    assert 0 < load["epoch"]["low"] < load["epoch"]["middle"] < load["epoch"]["high"]
    assert load["pricing"] > 0
    assert found["num_epochs"] == 1
    assert found["forecast"]["num_trials"] == 2 + 1 + 8
    assert found["forecast"]["num_epochs"]["high"] == 3 + 2 * 6 + 8
    assert plan["elastic"] is None


def test_a_plan_as_text_needs_no_new_table_and_names_what_contradicts(plan, experiment):
    changes = ["--set", "search.grace_epochs=3", "--set", "latency.on_drift=warn", "--no-profile"]
    out, err = call_here("plan", experiment, *changes)
    assert "networks  9,880 of different tokens (exact)" in out
    assert "warning   no trial can be stopped early: search.grace_epochs = 3" in out
    assert "(stopped early: nothing can be stopped early)" in out
    assert "planning: 0% pricing the space" in err


def test_recorded_curves_narrow_how_many_epochs_there_will_be(plan, experiment):
    recorded = Path(__file__).parents[2] / "experiments" / "recorded" / "fashion_mnist.parquet"
    changes = ["--set", "latency.on_drift=warn", "--no-profile", "--curves", recorded]
    told = json.loads(call_here("plan", experiment, *changes, "--json")[0])["forecast"]["num_epochs"]
    assert plan["forecast"]["num_epochs"]["low"] <= told["low"] <= told["middle"] <= told["high"] < 27
    call_here("plan", experiment, *changes[:-1], experiment, code=8)


def test_a_plan_without_a_table_or_anything_feasible_ends_as_launch_does(plan, experiment):
    call_here("plan", experiment, "--no-profile", "--set", "study.name=other", code=4)
    call_here("plan", experiment, "--set", "training.epoch=1", code=3)
    _, err = call_here("plan", experiment, "--set", "latency.max_latency_share=[0.05, 0.9]", code=11)
    assert "a smaller budget beside latency.max_latency_share = 0.9" in err
    assert "raise the budget to" in err


def _search(directory, **limits):
    arguments = [sys.executable, str(SCRIPT), str(directory), "50", "100", json.dumps(limits)]
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1] / "search"), str(SCRIPT.parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_wall_time_ends_a_search_within_an_epoch_and_not_after_it(tmp_path):
    """Epochs take longer than the limit: one that was waited for would be in its trial's curve."""
    done = _search(tmp_path, max_wall_time_s=15.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    study = read_study(tmp_path / "toy")
    assert study.end.cause is EndCause.WALL_TIME
    assert {(t.state, t.reason, t.curve) for t in study.trials} <= {(TrialState.FAIL, INTERRUPTED, ())}
    again = _search(tmp_path, max_wall_time_s=15.0)  # nothing is started, not even Ray
    assert again.returncode == 0
    assert read_study(tmp_path / "toy") == study
