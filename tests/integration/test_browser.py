"""A finished search in MLflow's own pages, as a person browses it: a real search, server and browser."""

import os
import subprocess
from pathlib import Path

import pytest
from command_line import call, give_mlflow_database, start, write_experiment
from large_record import large_record
from mlflow import MlflowClient
from mlflow_page import MlflowPage, browser_page, require_chromium

from search.commands.dashboard import mlflow_server
from search.commands.local_server import free_port
from search.records import TrialState
from search.study import read_study
from search.tracking import sync
from search.tracking_place import default_tracking_uri
from search.tracking_view import experiment_fragment

pytestmark = [pytest.mark.large, pytest.mark.integration]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a study that a search has filled."""
    require_chromium()
    folder = tmp_path_factory.mktemp("browser")
    experiment = write_experiment(folder, "shown", ("num_trials = 8", "num_trials = 4"), ("epochs = 3", "epochs = 2"))
    call("profile", experiment)
    call("launch", experiment)
    return folder / "runs" / "shown"


@pytest.fixture(scope="module")
def address(searched):
    """What `dashboard` prints, while its server runs."""
    dashboard = start("dashboard", "shown", "--no-browser", "--runs-dir", searched.parent)
    try:
        yield dashboard.stdout.readline().strip()
    finally:
        dashboard.terminate()
        try:
            dashboard.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            dashboard.kill()


@pytest.fixture(scope="module")
def page():
    with browser_page() as page:
        yield page


@pytest.fixture
def mlflow(page, address, tmp_path):
    """Pictures go to the folder in BROWSER_PICTURES where it is set."""
    return MlflowPage(page, address, pictures=Path(os.environ.get("BROWSER_PICTURES", tmp_path)))


def name_of(trial):
    return trial.label or f"trial {trial.number}"


def test_the_study_is_found_by_its_name(mlflow):
    mlflow.find_study("shown")
    mlflow.picture("study")


def test_the_address_leads_to_the_studys_own_view(mlflow, searched):
    charts = mlflow.open_view()
    mlflow.page.get_by_text("latency_ms vs. top1").wait_for()
    mlflow.picture("view")
    assert charts.count() >= 1
    text = mlflow.page.inner_text("body")
    assert all(name_of(trial) in text for trial in read_study(searched).trials if trial.state is TrialState.COMPLETE)


def test_trials_are_sorted_by_their_accuracy(mlflow, searched):
    mlflow.open_runs()
    mlflow.sort_by("top1")
    mlflow.picture("sorted_trials")
    study = read_study(searched)
    ranked = sorted((t for t in study.trials if t.curve), key=lambda t: t.curve[-1], reverse=True)
    top1 = {name_of(trial): trial.curve[-1] for trial in ranked}
    shown = [top1[name] for name in mlflow.run_names() if name in top1]
    assert len(shown) == len(ranked)
    assert shown == sorted(shown, reverse=True)


def test_a_trial_shows_its_curves(mlflow, searched):
    trial = next(t for t in read_study(searched).trials if t.state is TrialState.COMPLETE)
    mlflow.open_runs()
    mlflow.open_run(name_of(trial))
    mlflow.picture("trial")
    mlflow.open_tab("Model metrics")
    mlflow.search_charts("top1")
    mlflow.charts().first.wait_for()
    mlflow.page.get_by_text("top1", exact=True).first.wait_for()
    mlflow.picture("curves")


def test_the_front_is_drawn_with_every_trial_of_the_study(mlflow, searched):
    study = read_study(searched)
    mlflow.open_runs()
    mlflow.open_run("search")
    body = mlflow.open_artifact("pareto.html")
    body.locator(".point").first.wait_for()
    mlflow.picture("front")
    drawn = [trial for trial in study.trials if trial.curve]
    dense = 0 if study.dense_top1 is None else 1
    assert body.locator(".point").count() == len(drawn) + dense


def test_two_trials_are_compared_side_by_side(mlflow, searched):
    trials = [t for t in read_study(searched).trials if t.state is TrialState.COMPLETE][:2]
    mlflow.open_runs()
    mlflow.compare(*map(name_of, trials))
    mlflow.picture("compared")
    text = mlflow.page.inner_text("body")
    assert all(name_of(trial) in text for trial in trials)
    assert "keep1" in text
    assert "latency_ms" in text


@pytest.fixture(scope="module")
def large_study(tmp_path_factory):
    """A study of 500 finished trials in MLflow, and the address of its view."""
    require_chromium()
    directory = tmp_path_factory.mktemp("large") / "runs" / "large"
    directory.mkdir(parents=True)
    give_mlflow_database(directory.parent)
    study = large_record(directory, num_trials=500)
    sync(study)
    uri = default_tracking_uri(directory.parent)
    experiment = MlflowClient(uri).get_experiment_by_name("spvit/large")
    with mlflow_server(uri, free_port()) as (_, base):
        yield study, f"{base}/{experiment_fragment(experiment.experiment_id)}"


def test_five_hundred_trials_are_browsed_as_quickly_as_a_few(page, large_study, tmp_path):
    study, address = large_study
    mlflow = MlflowPage(page, address, pictures=Path(os.environ.get("BROWSER_PICTURES", tmp_path)))
    mlflow.open_view()
    mlflow.page.get_by_text("matching runs").wait_for()
    mlflow.picture("large_view")
    mlflow.open_runs()
    mlflow.open_run("search")
    body = mlflow.open_artifact("pareto.html")
    body.locator(".point").first.wait_for()
    mlflow.picture("large_front")
    assert body.locator(".point").count() == len(study.trials) + 1
    mlflow.open_runs()
    mlflow.sort_by("top1")
    best = max(study.trials, key=lambda trial: trial.top1)
    assert mlflow.run_names()[0] == name_of(best)
