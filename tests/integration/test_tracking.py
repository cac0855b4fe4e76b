import json
import logging
import math
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from search.records import TrialState
from search.spool import Spool
from search.tracking import MlflowTracker, sync
from search.tracking_message import Assignment
from search.tracking_place import default_tracking_uri
from search.tracking_process import Writing
from search.tracking_view import study_view
from search.tracking_writer import MlflowWriter
from spvit.errors import ExitCode

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def template_database(tmp_path_factory):
    """A new MLflow database costs seconds, a copy of one milliseconds."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowWriter(f"sqlite:///{path}", study_name="t", study_id="t", artifact_directory=path.parent / "artifacts")
    return path


@pytest.fixture
def directory(study, template_database):
    """The study's folder, with an MLflow database beside it."""
    path = Path(study.directory)
    path.mkdir(parents=True)
    shutil.copy(template_database, path.parent / "mlflow.db")
    return path


@pytest.fixture
def client(directory):
    from mlflow import MlflowClient

    return MlflowClient(default_tracking_uri(directory.parent))


def metrics_of(epoch, top1):
    values = {"epoch": epoch, "val_top1": top1, "val_loss": 1.0 / epoch, "lr": 1e-4 * epoch}
    values |= {"images_per_second": 900.0, "loss_ratio": 0.5, "val_num_images": 100, "train_seconds": 3.0}
    return values | {"system/process_memory_megabytes": 700.0, "facts_sha256": "f" * 64}


def play(tracker, study):
    """Tell a tracker the whole of a study, as the launcher would."""
    tracker.on_study_start(replace(study, trials=()))
    for trial in study.trials:
        tracker.on_trial_start(replace(trial, state=TrialState.RUNNING, top1=None, curve=(), reason=""))
        for epoch, top1 in enumerate(trial.curve, start=1):
            tracker.on_epoch(replace(trial, curve=trial.curve[:epoch]), metrics_of(epoch, top1))
        tracker.on_trial_end(trial)
    tracker.on_study_end(study)


def runs_of(client, study):
    experiment = client.get_experiment_by_name(f"spvit/{study.name}")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def by_trial(client, study):
    return {run.data.tags.get("spvit.trial"): run for run in runs_of(client, study)}


def points(client, study):
    """Every metric point of every run, as (trial, metric, step, value)."""
    return sorted(
        (trial or "", key, metric.step, metric.value)
        for trial, run in by_trial(client, study).items()
        for key in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, key)
    )


def test_a_whole_study_is_in_mlflow(study, directory, client):
    seen, said = {}, []
    (directory / "latency_table.json").write_text("{}")
    (directory / "plan.json").write_text("{}")
    tracker = MlflowTracker(directory, on_run_id=seen.__setitem__, on_address=said.append)
    play(tracker, study)
    tracker.close()

    runs = by_trial(client, study)
    parent = runs.pop(None)
    assert {trial: run.info.status for trial, run in runs.items()} == {
        "0": "FINISHED", "1": "FINISHED", "2": "FINISHED", "3": "FINISHED", "4": "KILLED", "5": "FAILED",
    }  # fmt: skip
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    assert seen == {None: parent.info.run_id} | {int(t): run.info.run_id for t, run in runs.items()}

    assert runs["1"].data.params == {"keep1": "0.8", "keep2": "0.5", "ratio": "2.5"}
    assert [runs["1"].data.metrics[f"latency_{end}ms"] for end in ("low_", "", "high_")] == [4.9, 5.0, 5.1]
    assert [runs["1"].data.metrics[f"num_tokens{stage}"] for stage in (1, 2)] == [39, 24]
    assert runs["1"].data.metrics["system/process_memory_megabytes"] == 700.0
    assert runs["1"].data.tags["spvit.effective_config_sha256"] == "f" * 64
    assert runs["1"].info.end_time == 1_700_000_018_000
    assert runs["4"].data.tags["spvit.reason"] == "after epoch 1: below the median"
    assert runs["4"].data.tags["spvit.state"] == "PRUNED"
    assert runs["0"].data.tags["spvit.origin"] == "baseline"
    history = client.get_metric_history(runs["2"].info.run_id, "top1")
    assert [(m.step, m.value) for m in history] == [(1, 86.0), (2, 87.0), (3, 88.0)]

    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best_top1"] == 85.0
    assert "# Study small" in parent.data.tags["mlflow.note.content"]
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert names >= {
        "latency_table.json",
        "plan.json",
        "pareto.png",
        "pareto.html",
        "pareto.table.json",
        "experiment.toml",
        "summary.md",
    }
    tables = json.loads(parent.data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "pareto.table.json", "type": "table"}]

    experiment = client.get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.sharedViewState.spvit"] == study_view(study)["mlflow.sharedViewState.spvit"]
    assert said == [f"browse the study with `spvit-search dashboard small --runs-dir {directory.parent}`"] * 2


def test_progress_has_one_point_for_each_finished_trial(study, directory, client):
    tracker = MlflowTracker(directory)
    play(tracker, study)
    tracker.close()
    parent = by_trial(client, study)[None]
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [m.step for m in history] == [1, 2, 3, 4]
    assert [m.value for m in history] == sorted(m.value for m in history)


def test_a_writer_that_dies_anywhere_loses_and_repeats_nothing(study, directory, client, monkeypatch):
    whole = MlflowTracker(directory)
    play(whole, study)
    whole.close()
    expected = points(client, study)
    num_runs = len(runs_of(client, study))

    # The same events again from the start, as after a crash before any was acknowledged, with deaths in between.
    (directory / "tracking.jsonl.offset").unlink()
    apply, calls = MlflowWriter.apply, []

    def dies_often(self, update, **options):
        calls.append(update)
        apply(self, update, **options)
        if len(calls) in {1, 4, 9}:
            raise ConnectionError("the server went away")

    monkeypatch.setattr(MlflowWriter, "apply", dies_often)
    assignment = Assignment(
        directory=str(directory), uri=default_tracking_uri(directory.parent), driver_pid=0, linger_s=0
    )
    closing = threading.Event()
    closing.set()
    assert [Writing(assignment).run(closing) for _ in range(4)] == [*[ExitCode.STOPPED] * 3, ExitCode.OK]
    assert len(calls) > 9
    assert Spool(directory / "tracking.jsonl").is_drained
    assert points(client, study) == expected
    assert len(runs_of(client, study)) == num_runs


def test_a_server_that_is_away_costs_the_search_one_line_and_no_data(study, directory, client, caplog):
    away = MlflowTracker(directory, uri="sqlite:////proc/nowhere/mlflow.db", close_timeout_s=20.0)
    with caplog.at_level(logging.WARNING, logger="search"):
        play(away, study)
        away.close()
    assert sum("cannot be written" in record.message for record in caplog.records) == 1

    back = MlflowTracker(directory)
    back.on_study_start(study)
    back.on_study_end(study)
    back.close()
    assert len([p for p in points(client, study) if p[1] == "top1"]) == sum(len(t.curve) for t in study.trials)


def test_files_that_cannot_be_stored_hold_up_nothing_else(study, directory, client, caplog):
    (directory.parent / "mlartifacts").write_text("in the way of the folder")
    tracker = MlflowTracker(directory)
    play(tracker, study)
    tracker.close()
    runs = by_trial(client, study)
    assert runs[None].info.status == "FINISHED"
    assert set(runs) == {None, *(str(trial.number) for trial in study.trials)}
    assert any("pareto.png could not be stored in MLflow" in record.message for record in caplog.records)


def test_values_that_are_no_numbers_become_tags(study, directory, client):
    tracker = MlflowTracker(directory)
    trial = study.trials[1]
    tracker.on_study_start(replace(study, trials=()))
    tracker.on_trial_start(trial)
    tracker.on_epoch(trial, metrics_of(1, 50.0) | {"val_loss": math.inf, "loss_ratio": math.nan})
    tracker.close()
    run = by_trial(client, study)["1"]
    assert {"val_loss", "loss_ratio"}.isdisjoint(run.data.metrics)
    assert run.data.tags["spvit.non_finite.val_loss"] == "inf at step 1"


def test_sync_rebuilds_what_is_missing_and_repeats_nothing(study, directory, client):
    sync(study)
    first = points(client, study)
    assert {p[0] for p in first if p[1] == "latency_ms"} == {str(t.number) for t in study.trials}
    sync(study)
    assert points(client, study) == first

    later = replace(study.trials[1], number=6, mlflow_run_id=None)
    sync(replace(study, trials=(*study.trials, later)))
    assert [p[3] for p in points(client, study) if p[:2] == ("6", "top1")] == list(later.curve)


def test_sync_after_tracking_adds_no_point(study, directory, client):
    tracker = MlflowTracker(directory)
    play(tracker, study)
    tracker.close()
    expected = points(client, study)
    sync(study)
    assert points(client, study) == expected


def test_a_resumed_study_goes_on_in_the_same_runs(study, directory, client):
    before = MlflowTracker(directory)
    before.on_study_start(replace(study, trials=()))
    before.on_trial_start(study.trials[1])
    before.close()
    first = {trial: run.info.run_id for trial, run in by_trial(client, study).items()}

    kept, experiments = {}, []
    after = MlflowTracker(directory)
    after.on_open(kept.__setitem__, experiments.append)
    after.on_study_start(study)
    after.on_trial_end(study.trials[1])
    after.on_trial_start(study.trials[2])
    after.close()
    runs = by_trial(client, study)
    assert {trial: runs[trial].info.run_id for trial in first} == first
    assert runs["1"].info.status == "FINISHED"
    assert set(runs) == {None, *(str(trial.number) for trial in study.trials)}  # also those that nobody told it of
    assert runs["3"].data.params == {"keep1": "0.8", "keep2": "0.5", "ratio": "4.5"}
    assert experiments == [runs[None].info.experiment_id]
    assert kept == {None if trial is None else int(trial): run.info.run_id for trial, run in runs.items()}
    assert runs["5"].info.status == "FAILED"  # ended by the study when it was opened again


def test_a_study_made_anew_under_an_old_name_has_runs_of_its_own(study, directory, client):
    for _ in range(2):
        tracker = MlflowTracker(directory)
        tracker.on_study_start(replace(study, trials=()))
        tracker.close()
        shutil.rmtree(directory)
    assert len(runs_of(client, study)) == 2
