"""Progressive insertion with real trainings on a small model: to the end, stopped and resumed, and in MLflow."""

import json
import re
import signal

import pytest
from command_line import call, call_here, start, write_experiment

from search.tracking_place import default_tracking_uri
from trainers.checkpoint import latest_checkpoint

pytestmark = [pytest.mark.large, pytest.mark.integration]
SETTINGS = {
    "progressive.max_top1_drop": 60,
    "progressive.keep_rate_step": 0.3,
    "training.images_per_epoch": 50,
    "training.epochs": 2,
    "latency.max_latency_share": 0.85,
}


def options(**changes):
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("progressive"), "paper")


@pytest.fixture(scope="module")
def folder(experiment):
    return experiment.parent / "runs" / "paper" / "progressive"


@pytest.fixture(scope="module")
def stopped(experiment, folder):
    """What a run said that got SIGTERM in the middle of its second step, and what it left."""
    process = start("progressive", experiment, *options(), "--set", "progressive.epochs_per_step=200")
    for line in process.stderr:
        if "epoch 2/200" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate(timeout=60)
    return process.returncode, err, [path.name for path in folder.glob("steps/*/checkpoint-*")]


def test_a_stopped_run_can_be_resumed(stopped):
    code, err, checkpoints = stopped
    assert code == 75
    assert re.search(r"finished steps and epochs are kept: `spvit-search progressive .*paper.toml` goes on", err)
    assert "checkpoint-000001" in checkpoints


@pytest.fixture(scope="module")
def finished(stopped, experiment):
    out, err = call_here("progressive", experiment, *options(), "--json")
    return json.loads(out), err


def test_the_final_model_is_within_the_budget_and_kept(finished, folder):
    report, _ = finished
    assert report["final"]["latency"]["high_ms"] <= report["max_latency_ms"]
    assert report["final"]["num_epochs"] == 2
    assert report["num_epochs"] == len(report["steps"]) - 1 + 2
    assert json.loads((folder / "progressive.json").read_text()) == report
    saved = latest_checkpoint(folder / "final", is_owner=False)
    assert saved.step == 2
    assert saved.meta["config"]["pruning"]["schedule"]["stages"] == report["final"]["schedule"]
    assert saved.meta["history"][-1]["val_top1"] == report["final"]["top1"]
    assert saved.meta["config"]["training"]["epochs"] == 2


def test_what_was_trained_is_not_trained_again(finished, experiment, folder):
    report, _ = finished
    before = (folder / "outcomes.json").read_text()
    out, err = call_here("progressive", experiment, *options(), "--json")
    assert json.loads(out) == report
    assert "epoch" not in err
    assert (folder / "outcomes.json").read_text() == before


def test_other_thresholds_go_on_from_what_is_known(finished, experiment, folder):
    known = json.loads((folder / "outcomes.json").read_text())
    out, _ = call_here(
        "progressive", experiment, *options(progressive__max_top1_drop=0.01, tracking__enabled="false"), code=11
    )
    assert out == ""
    now = json.loads((folder / "outcomes.json").read_text())
    assert known.items() <= now.items()
    report = json.loads((folder / "progressive.json").read_text())
    assert not report["is_within_budget"]
    assert {step["verdict"] for step in report["steps"][1:]} <= {"accepted", "too inaccurate"}


def test_mlflow_shows_one_run_beside_the_search(finished, experiment):
    from mlflow import MlflowClient

    report, _ = finished
    client = MlflowClient(default_tracking_uri(experiment.parent / "runs"))
    (run,) = client.search_runs([client.get_experiment_by_name("spvit/paper").experiment_id])
    assert (run.info.run_name, run.info.status) == ("progressive", "FINISHED")
    assert run.data.metrics["top1"] == pytest.approx(report["final"]["top1"], rel=1e-5)
    assert run.data.params["max_top1_drop"] == "60.0"
    history = client.get_metric_history(run.info.run_id, "step_top1")
    assert [point.step for point in history] == [step["number"] for step in report["steps"]]


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"latency__max_latency_share": 0.05}, 11, "no keep rate down to progressive.lowest_keep_rate"),
        ({"latency__max_latency_ms": 1e6}, 3, "give max_latency_ms or max_latency_share"),
        ({"latency__max_latency_share": 1.0, "progressive__first_block": 6}, 3, "first_block must lie in 0 to 5"),
        ({"progressive__keep_rate_step": 0.9}, 3, "keep_rate_step must not exceed"),
    ],
)
def test_what_cannot_be_is_said_before_any_training(experiment, folder, changes, code, text):
    known = (folder / "outcomes.json").read_text()
    _, err = call_here("progressive", experiment, *options(**changes), code=code)
    assert text in err
    assert (folder / "outcomes.json").read_text() == known


def test_a_damaged_record_is_named(finished, experiment, folder):
    path = folder / "outcomes.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    _, err = call_here("progressive", experiment, *options(), code=8)
    path.write_text(whole)
    assert "outcomes.json: damaged (JSONDecodeError)" in err


def test_a_model_without_trained_weights_is_refused_before_anything_is_measured(tmp_path):
    untrained = write_experiment(tmp_path, "untrained", ("checkpoint =", "# checkpoint ="))
    _, err = call("progressive", untrained, code=3)
    assert "needs trained weights: set model.checkpoint or model.pretrained" in err
    assert not (tmp_path / "runs" / "untrained").exists()
