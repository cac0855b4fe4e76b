"""A search's best model taken home by the command line: trained on, exported, registered, checked, trained again."""

import json
from pathlib import Path

import pytest
from command_line import call, call_here, write_experiment

from search.records import Origin, TrialState
from search.study import read_study

CHANGES = (
    ("epochs = 3", "epochs = 1"),
    ("num_trials = 8", "num_trials = 1"),
    ("choices = [5e-4, 100.0]", "choices = [5e-4]"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a search of one trial and the fixed schedule, an epoch each."""
    folder = tmp_path_factory.mktemp("home")
    experiment = write_experiment(folder, "home", *CHANGES)
    call_here("profile", experiment)
    call("launch", experiment)
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """What `finish` printed."""
    arguments = ("home", "--epochs", "2", "--runs-dir", folder / "runs", "--json")
    return json.loads(call("finish", *arguments)[0])["finished"]


@pytest.fixture(scope="module")
def exported(folder, finished):
    """What `export` printed of the trial that was finished."""
    number = str(finished[0]["number"])
    arguments = ("home", "--trial", number, "--format", "onnx", "--runs-dir", folder / "runs", "--json")
    return json.loads(call_here("export", *arguments)[0])


def test_the_chosen_trial_goes_on_from_its_checkpoint(folder, finished):
    study = read_study(folder / "runs" / "home")
    [trial] = [trial for trial in study.trials if trial.origin is Origin.FINISHED]
    assert [values["number"] for values in finished] == [trial.number]
    before = study.trials[trial.continues]
    assert trial.state is TrialState.COMPLETE
    assert (before.num_epochs, trial.num_epochs) == (1, 2)
    assert trial.curve[0] == before.curve[0]
    assert trial.mlflow_run_id not in {None, before.mlflow_run_id}


def test_the_export_has_the_accuracy_of_the_training_and_is_registered(folder, finished, exported):
    assert exported["formats"][0]["val_top1"] == pytest.approx(finished[0]["top1"])
    assert [entry["file"] for entry in exported["formats"]] == ["model.safetensors", "model.onnx"]
    assert exported["registration"]["model_uri"] == "models:/spvit-home/1"


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
    arguments = ("--runs-dir", tmp_path, "--set", "training.epochs=1", "--json")
    document = json.loads(call_here("fine-tune", config, *arguments)[0])
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1]
    assert Path(document["directory"]).is_relative_to(tmp_path)
