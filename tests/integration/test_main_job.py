"""The main job with real parts: profile, search, export, and what every view then says about it."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest
import torch
from command_line import ROOT, call, call_here, call_json, start, wait_for, write_experiment
from settled import violations

from latency_tables.table import LatencyTable
from search import launch
from search.export import export
from search.records import Origin, Rejection, TrialState
from search.retries import root_of
from search.run_update import RunStatus
from search.selection import choose_trial, front_trials
from search.study import read_study
from search.study_updates import STATUS_OF
from search.tracking_place import default_tracking_uri
from search.trial_model import load_trial_model
from search.verify import Expected
from spvit.errors import StudyMismatchError

pytestmark = pytest.mark.integration
REPORT_FILES = {"pareto.png", "pareto.html", "pareto.table.json", "trials.csv", "experiment.toml", "summary.md"} | {
    "latency_table.json",
    *("history.csv", "history.png", "importance.csv", "importance.png", "slices.png"),
}


class Job:
    """A study that the command line has run to its end, and the same seen through Optuna and MLflow themselves."""

    def __init__(self, folder: Path, name: str) -> None:
        from mlflow import MlflowClient

        self.runs = folder / "runs"
        self.directory = self.runs / name
        self.name = name
        self.optuna = optuna.load_study(study_name=name, storage=f"sqlite:///{self.directory / 'study.db'}")
        self.mlflow = MlflowClient(tracking_uri=default_tracking_uri(self.runs))
        experiment = self.mlflow.get_experiment_by_name(f"spvit/{name}")
        self.mlflow_runs = self.mlflow.search_runs([experiment.experiment_id], max_results=1000)

    def command(self, *arguments):
        return json.loads(call_here(*arguments, "--runs-dir", self.runs, "--json")[0])

    @property
    def parent(self):
        (parent,) = [run for run in self.mlflow_runs if "mlflow.parentRunId" not in run.data.tags]
        return parent

    @property
    def children(self):
        children = [run for run in self.mlflow_runs if run.info.run_id != self.parent.info.run_id]
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {self.parent.info.run_id}
        by_number = {int(run.data.tags["spvit.trial"]): run for run in children}
        assert len(by_number) == len(children)
        return by_number

    def points(self, run, key):
        return [(point.step, point.value) for point in self.mlflow.get_metric_history(run.info.run_id, key)]


def check_views_agree(job):
    """`trials`, `pareto`, `status`, the Optuna storage and MLflow, trial by trial."""
    stored = job.optuna.trials
    rows = job.command("trials", job.name)["trials"]
    assert [row["number"] for row in rows] == [trial.number for trial in stored]
    assert set(job.children) == {trial.number for trial in stored}
    for row, trial in zip(rows, stored, strict=True):
        _check_row(row, trial)
        _check_run(job, job.children[trial.number], trial)
    front = job.command("pareto", job.name)["front"]
    # Of trials that are equal in both Optuna names each, and the front one.
    assert [(row["top1"], row["latency_ms"]) for row in front] == sorted(
        {tuple(trial.values) for trial in job.optuna.best_trials}, key=lambda values: values[1]
    )
    assert [row["latency_ms"] for row in front] == sorted(row["latency_ms"] for row in front)
    _check_status(job, job.command("status", job.name))


def _check_row(row, trial):
    assert row["state"] == trial.state.name
    assert {key: row[key] for key in trial.params if not key.startswith("keep")} == {
        key: value for key, value in trial.params.items() if not key.startswith("keep")
    }
    assert [row[f"keep{stage}"] for stage in (1, 2, 3)] == trial.user_attrs["keep_rates"]
    assert row["reason"] == trial.user_attrs.get("reason", "")
    assert row["num_epochs"] == len(trial.user_attrs["curve"])
    if trial.state is optuna.trial.TrialState.COMPLETE:
        assert [row["top1"], row["latency_ms"]] == trial.values
        assert row["top1"] == trial.user_attrs["curve"][-1]
    else:
        assert row["top1"] is None
        assert row["reason"]


def _check_run(job, run, trial):
    state = TrialState(trial.state.name)
    tags, attrs = run.data.tags, trial.user_attrs
    assert run.info.status == str(STATUS_OF[state])
    assert (tags["spvit.state"], tags["spvit.origin"]) == (str(state), attrs["origin"])
    assert tags.get("spvit.reason", "") == attrs.get("reason", "")
    assert tags["spvit.keep_counts"] == ", ".join(map(str, attrs["keep_counts"]))
    for key, value in trial.params.items():
        if key != "keep1":
            assert float(run.data.params[key]) == pytest.approx(value, rel=1e-5)
    assert run.data.metrics["latency_ms"] == pytest.approx(attrs["latency"]["mean_ms"], rel=1e-5)
    known = _epochs_before(job.optuna, trial)
    curve = list(enumerate(attrs["curve"], start=1))
    assert job.points(run, "top1") == [(epoch, pytest.approx(top1, rel=1e-5)) for epoch, top1 in curve[known:]]
    for key in ("loss_total", "val_loss", "lr", "images_per_second"):
        assert [step for step, _ in job.points(run, key)] == [epoch for epoch, _ in curve[known:]]
    if curve[known:]:
        assert len(tags["spvit.effective_config_sha256"]) == 64  # of what the worker built, and was to build
        assert run.data.metrics["system/process_memory_megabytes"] > 0


def _epochs_before(study, trial):
    """Epochs that an earlier attempt trained; they are in that attempt's run."""
    earlier = [study.trials[trial.user_attrs["retry_of"]]] if trial.user_attrs["retry_of"] is not None else []
    return max((len(other.user_attrs["curve"]) for other in earlier), default=0)


def _check_status(job, status):
    stored = job.optuna.trials
    counts = Counter(trial.state.name for trial in stored)
    assert {state: count for state, count in status["counts"].items() if count} == dict(counts)
    trained = [len(trial.user_attrs["curve"]) - _epochs_before(job.optuna, trial) for trial in stored]
    assert status["num_epochs_trained"] == sum(trained)
    assert status["rejections"] == {"too_slow": 0, "duplicate": 0} | job.optuna.user_attrs["rejections"]
    within = [
        trial.values[0]
        for trial in stored
        if trial.values and trial.user_attrs["latency"]["high_ms"] <= status["max_latency_ms"]
    ]
    assert (status["best"] and status["best"]["top1"]) == max(within, default=None)
    assert not status["is_running"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def experiment(folder):
    return write_experiment(folder, "tiny")


@pytest.fixture(scope="module")
def events(experiment):
    """What `run` printed, line by line; test_taken_home.py has the other formats."""
    return [json.loads(line) for line in call("run", experiment, "--format", "safetensors", "--json")[0].splitlines()]


@pytest.fixture(scope="module")
def report(events):
    """What it printed last."""
    return events[-1]


@pytest.fixture(scope="module")
def job(folder, report):
    return Job(folder, "tiny")


def test_every_view_says_the_same_trial_by_trial(job):
    check_views_agree(job)


def test_the_events_tell_what_the_study_holds(job, events):
    study = read_study(job.directory)
    kinds = Counter(event["event"] for event in events)
    assert (kinds["study_start"], kinds["study_end"], kinds["result"]) == (1, 1, 1)
    assert [event["trial"] for event in events if event["event"] == "trial_start"] == [t.number for t in study.trials]
    told = {event["trial"]: event["state"] for event in events if event["event"] == "trial_end"}
    assert told == {trial.number: trial.state for trial in study.trials}
    assert kinds["epoch"] == sum(trial.num_epochs for trial in study.trials)
    assert [event["total"] for event in events if event["event"] == "rejection"][-1]["too_slow"] == (
        study.rejections[Rejection.TOO_SLOW]
    )


def test_trials_are_compared_image_by_image_from_their_checkpoints(job):
    study = read_study(job.directory)
    assert study.num_val_images == 100
    first, second = (trial for trial in study.finished[:2])
    arguments = ["compare", job.name, str(first.number), str(second.number)]
    rough, fine = job.command(*arguments)["top1"], job.command(*arguments, "--evaluate")["top1"]
    assert (rough["is_paired"], fine["is_paired"]) == (False, True)
    assert rough["points"] == pytest.approx(fine["points"]) == pytest.approx(first.top1 - second.top1)
    assert fine["low"] < fine["points"] < fine["high"]
    assert job.command(*arguments)["top1"] == fine  # kept in the study's folder
    choice = job.command("pareto", job.name, "--knee", "--evaluate")["choice"]
    assert all(equal["difference"]["is_paired"] for equal in choice["equals"])
    shown = job.command("show", job.name, str(first.number))
    assert [Path(folder).name for folder in shown["checkpoints"]] == [f"checkpoint-{first.num_epochs:06}"]
    assert shown["mlflow_fragment"].endswith(job.children[first.number].info.run_id)


def test_the_search_holds_the_trials_asked_for_and_none_over_the_cap(job, report):
    trials = read_study(job.directory).trials
    assert [trial.origin for trial in trials] == [Origin.BASELINE, *[Origin.SAMPLER] * 8]
    assert all(trial.latency.high_ms <= report["summary"]["max_latency_ms"] for trial in trials[1:])
    assert report["summary"]["rejections"]["too_slow"] > 0
    assert job.parent.data.tags["spvit.rejected"] == str(sum(report["summary"]["rejections"].values()))


def test_pruned_trials_are_visible_as_such_in_mlflow(job):
    pruned = [run for run in job.children.values() if run.data.tags["spvit.state"] == "PRUNED"]
    assert pruned
    assert {run.info.status for run in pruned} == {str(RunStatus.KILLED)}
    assert all(run.data.tags["spvit.reason"] for run in pruned)


def test_the_parent_run_holds_the_report(job):
    assert job.parent.info.status == "FINISHED"
    assert job.parent.data.tags["spvit.role"] == "search"
    assert float(job.parent.data.tags["spvit.max_latency_ms"]) == pytest.approx(
        job.optuna.user_attrs["max_latency_ms"], rel=1e-5
    )
    assert {file.path for file in job.mlflow.list_artifacts(job.parent.info.run_id)} == REPORT_FILES
    assert [step for step, _ in job.points(job.parent, "hypervolume")] == list(
        range(1, len(read_study(job.directory).finished) + 1)
    )


def test_the_study_knows_its_runs_in_mlflow(job):
    study = read_study(job.directory)
    assert study.mlflow_run_id == job.parent.info.run_id
    assert {t.number: t.mlflow_run_id for t in study.trials} == {n: r.info.run_id for n, r in job.children.items()}


def test_the_export_is_the_trained_model_in_a_fresh_process(job, report, tmp_path):
    exported = Path(report["export_directory"])
    document = json.loads((exported / "certificate.json").read_text())
    study = read_study(job.directory)
    trial = study.trials[document["trial"]]
    assert trial.number == report["summary"]["best"]["number"]
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch, spvit\n"
        "with torch.inference_mode():\n"
        "    torch.save(spvit.load_exported(sys.argv[1])(torch.load(sys.argv[2])), sys.argv[3])\n"
        "sys.exit(any(name in sys.modules for name in ('ray', 'optuna', 'mlflow')))\n"
    )
    files = [str(exported), str(tmp_path / "images.pt"), str(tmp_path / "logits.pt")]
    subprocess.run([sys.executable, "-c", code, *files], check=True, cwd=ROOT)
    with torch.inference_mode():
        expected = load_trial_model(study, trial)(images)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected, rtol=1e-5, atol=1e-5)


def test_evaluating_the_export_gives_the_accuracy_of_the_search(job, report):
    evaluated = call_json("evaluate", report["export_directory"])
    assert evaluated["evaluation"]["top1"] == report["summary"]["best"]["top1"]
    assert evaluated["evaluation"]["num_images"] == 100
    assert evaluated["gmacs"] < evaluated["dense_gmacs"]


@pytest.mark.parametrize("command", ["resume", "launch"])
def test_a_finished_study_is_left_as_it_is(job, experiment, command):
    before = read_study(job.directory)
    arguments = ["resume", "tiny", "--runs-dir", job.runs] if command == "resume" else ["launch", experiment]
    _, err = call_here(*arguments)
    assert "nothing was left to do, the study is finished" in err
    after = read_study(job.directory)
    assert after.usage.wall_s >= before.usage.wall_s
    assert replace(after, usage=before.usage) == before
    check_views_agree(Job(job.runs.parent, "tiny"))


def test_a_changed_experiment_is_refused_with_the_key_that_changed(job, experiment):
    before = read_study(job.directory)
    _, err = call_here("launch", experiment, "--set", "training.epochs=4", code=7)
    assert "training.epochs: 3 -> 4" in err
    assert read_study(job.directory) == before


def _history(directory, number):
    """Every epoch's report as the trial's newest checkpoint holds it, with the seconds it took."""
    checkpoints = sorted((directory / "trials" / str(number)).glob("checkpoint-??????"))
    return json.loads((checkpoints[-1] / "meta.json").read_text())["history"] if checkpoints else []


@pytest.mark.large
def test_a_driver_killed_while_training_loses_and_repeats_nothing(folder, job):
    table = job.directory / "latency_table.json"
    experiment = write_experiment(
        folder,
        "killed",
        ("[latency]", f'[latency]\ntable = "{table}"'),
        ("epochs = 3", "epochs = 5"),
        ("num_trials = 8", "num_trials = 3"),
        ("[5e-4, 100.0]", "[5e-4, 6e-4]"),  # none is ruined, so that some trial within the budget ends whole
    )
    directory = folder / "runs" / "killed"
    driver = start("launch", experiment)
    wait_for(
        directory,
        lambda s: s.finished and any(t.state is TrialState.RUNNING and t.num_epochs == 1 for t in s.trials),
    )
    call_here("launch", experiment, code=6)  # one driver at a time
    driver.kill()
    driver.communicate(timeout=30)
    before = read_study(directory)
    trained = {trial.number: _history(directory, trial.number) for trial in before.trials}
    call("resume", "killed", "--runs-dir", folder / "runs")
    after = read_study(directory)

    finished = {t.number: t for t in before.trials if t.state.is_finished}
    assert {number: _without_run(after.trials[number]) for number in finished} == {
        number: _without_run(trial) for number, trial in finished.items()
    }
    interrupted = [t for t in before.trials if not t.state.is_finished]
    assert any(t.num_epochs for t in interrupted)
    for trial in interrupted:
        assert after.trials[trial.number].state is TrialState.FAIL
        (retry,) = [t for t in after.trials if t.retry_of == trial.number]
        assert retry.state in {TrialState.COMPLETE, TrialState.PRUNED}
        assert retry.curve[: trial.num_epochs] == trial.curve
        # The very same epochs, seconds included: none was trained again.
        assert _history(directory, trial.number)[: len(trained[trial.number])] == trained[trial.number]
    for number in finished:
        assert _history(directory, number) == trained[number]
    roots = {root_of(t) for t in after.trials if t.state is not TrialState.FAIL}
    assert len(roots) == 1 + 3  # the baseline, and the trials asked for

    again = Job(folder, "killed")
    check_views_agree(again)
    assert again.parent.info.status == "FINISHED"
    assert {again.children[t.number].info.status for t in interrupted} == {str(RunStatus.FAILED)}
    best = choose_trial(after)
    report = export(after, best, folder / "export", table=LatencyTable.load(table), formats=(), time_limit_s=0.5)
    assert report.measured.val_top1 == best.top1
    assert violations(directory, Expected(before=before)) == ()

    call("extend", "killed", "--runs-dir", folder / "runs", "--trials", "+1", "--epochs", "6")
    extended = read_study(directory)
    assert [_without_run(t) for t in extended.trials[: len(after.trials)]] == [_without_run(t) for t in after.trials]
    prolonged = [t for t in extended.trials if t.origin is Origin.CONTINUED]
    assert {t.continues for t in prolonged} == {root_of(t) for t in front_trials(after)}
    for trial in prolonged:
        shorter = after.trials[trial.continues]
        assert _history(directory, trial.number)[:5] == _history(directory, root_of(shorter))
        assert (trial.state, trial.num_epochs, trial.generation) == (TrialState.COMPLETE, 6, 2)
    assert violations(directory, Expected(before=after)) == ()


def test_from_python_a_change_is_refused_and_accepted_as_by_the_command_line(job, experiment):
    table = LatencyTable.load(job.directory / "latency_table.json")
    changed = partial(launch, experiment, table, overrides=["training.min_lr=2e-6"])
    before = read_study(job.directory)
    with pytest.raises(StudyMismatchError, match=r"training\.min_lr: 1e-06 -> 2e-06"):
        changed()
    after = changed(accept_change=True).record
    assert len(after.generations) == len(before.generations) + 1
    assert after.trials == before.trials  # as many as were asked for


def _without_run(trial):
    """A trial's record but for its run in MLflow, which may have become known only later."""
    return replace(trial, mlflow_run_id=None)
