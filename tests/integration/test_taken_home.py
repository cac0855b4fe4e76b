"""A search's best model taken home, from Python as docs/api.md says and by the command line: trials of two workers."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from api_session import FINISHED_EPOCHS
from command_line import ROOT, call_here, write_experiment

from search.records import Origin, TrialState
from search.study import read_study

pytestmark = [pytest.mark.large, pytest.mark.integration]
SCRIPT = Path(__file__).with_name("api_session.py")
EXPLORED = "explored"
"""Where the example experiment exports to unless it is there: the same call as that of the page, seconds once more."""
CHANGES = (
    ("epochs = 3", "epochs = 1"),
    ("choices = [5e-4, 100.0]", "choices = [5e-4]"),
    ("num_concurrent = 2", "num_concurrent = 1"),
    ("[latency]", "[trial]\nworkers = 2\nresources_per_worker = { cpus = 1 }\n[latency]"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def told(folder):
    """What the examples of the page printed, run one after the other: a search of one trial and the fixed schedule, an
    epoch each, one of them trained on, and an export."""
    experiment = write_experiment(folder, "demo", *CHANGES)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(experiment)],
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def study(folder, told):
    return read_study(folder / "runs" / "demo")


@pytest.fixture(scope="module")
def exported(folder, study):
    """What `export` printed of the trial that it chose."""
    output = folder / "runs" / "demo" / "export" / EXPLORED
    arguments = ("demo", "--format", "onnx", "--output", output, "--runs-dir", folder / "runs", "--json")
    return json.loads(call_here("export", *arguments)[0])


def test_the_examples_say_what_happened(told, study):
    last = json.loads(told.splitlines()[-1])
    number = study.trials[-1].number
    assert re.search(rf"^{number} goes on from \d+ ", told, re.MULTILINE)
    assert f"exported   trial {number} of study demo" in told
    assert (last["exported"]["trial"], len(study.trials)) == (number, 3)


def test_the_chosen_trial_goes_on_from_its_checkpoint_with_the_workers_of_the_search(told, study):
    [trial] = [trial for trial in study.trials if trial.origin is Origin.FINISHED]
    before = study.trials[trial.continues]
    assert trial.state is TrialState.COMPLETE
    assert (before.num_epochs, trial.num_epochs) == (1, FINISHED_EPOCHS)
    assert trial.curve[0] == before.curve[0]
    assert trial.mlflow_run_id not in {None, before.mlflow_run_id}
    assert json.loads(told.splitlines()[-1])["num_workers"] == {str(trial.number): 2}


def test_asked_again_by_the_command_line_nothing_is_trained_again(folder, study):
    trial = study.trials[-1]
    arguments = ("--trial", str(trial.continues), "--epochs", str(FINISHED_EPOCHS), "--runs-dir", folder / "runs")
    document = json.loads(call_here("finish", "demo", *arguments, "--json")[0])
    assert [values["number"] for values in document["finished"]] == [trial.number]
    assert read_study(folder / "runs" / "demo").trials == study.trials


def test_what_is_exported_is_what_pareto_takes_with_the_accuracy_of_its_training(folder, study, exported):
    limit = ("--max-latency-ms", repr(study.max_latency_ms))
    choice = json.loads(call_here("pareto", "demo", *limit, "--runs-dir", folder / "runs", "--json")[0])["choice"]
    assert (exported["trial"], exported["choice"]["best"]) == (choice["trial"]["number"], choice["best"])
    assert exported["formats"][0]["val_top1"] == pytest.approx(study.trials[exported["trial"]].top1)
    assert [entry["file"] for entry in exported["formats"]] == ["model.safetensors", "model.onnx"]
    assert exported["registration"]["model_uri"] == "models:/spvit-demo/1"


def test_checking_says_so_by_its_lines_and_its_exit_code(exported):
    # Whether the budget is kept on the wall hangs on what else the machine does.
    arguments = ("check", exported["directory"], "--max-latency-ms", "1e6", "--time-limit-s", "0.5")
    (Path(exported["directory"]) / "README.md").write_text("changed")
    text, _ = call_here(*arguments, code=13)
    assert "fail  manifest" in text
    assert "README.md differs from its hash in the manifest" in text
    assert "pass  model.onnx answers" in text
    assert text.splitlines()[-1].startswith("FAIL")


def test_its_experiment_is_fine_tuned_again(exported, tmp_path):
    config = Path(exported["directory"]) / "config.toml"
    arguments = ("--runs-dir", tmp_path, "--set", "training.epochs=1", "--set", "trial.workers=1", "--json")
    document = json.loads(call_here("fine-tune", config, *arguments)[0])
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1]
    assert Path(document["directory"]).is_relative_to(tmp_path)


@pytest.mark.usefixtures("exported")
def test_the_example_experiment_explores_it_image_by_image(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names = runpy.run_path(str(ROOT / "experiments" / "explore_study.py"))
    assert "image by image: take trial" in capsys.readouterr().out
    assert all(equal.difference.is_paired for equal in names["choice"].equals)
