import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import finished_study
import pytest

import search
from search import Study, load_study, resume
from search.results import trials_frame
from search.selection import best_trial, front_trials
from search.study import read_study
from spvit.errors import CheckpointError, NothingFeasibleError, UsageError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the finished study `demo`, without checkpoints."""
    directory = tmp_path_factory.mktemp("home") / "runs"
    config = finished_study.experiment(directory, study={"name": "demo", "directory": str(directory), "seed": 5})
    finished_study.make_study(config, finished_study.table(), num_trials=6)
    return directory


@pytest.fixture
def study(runs):
    return load_study("demo", runs_dir=runs)


def test_the_names_are_there_and_importing_them_loads_nothing_heavy():
    assert all(getattr(search, name) is not None for name in search.__all__)
    code = "import sys, search; print([m for m in ('torch', 'ray', 'optuna', 'mlflow', 'pandas') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT) == "[]\n"


def test_the_page_names_everything_that_a_study_can_and_the_package_has():
    for name in {*search.__all__} - {"StudyStore"}:
        assert f"`{name}" in PAGE, name
    (row,) = re.findall(r"^\| `Study` \|.*$", PAGE, re.MULTILINE)
    public = {name for name, _ in inspect.getmembers(Study) if not name.startswith("_")}
    assert {re.match(r"\w+", text).group() for text in re.findall(r"`(\w[^`]*)`", row)} - {"Study"} == public - {
        "name",
        "directory",
        "record",
    }


def test_a_study_says_what_its_record_says(study, runs):
    record = read_study(runs / "demo")
    assert study.record == record
    assert study.reload() == study
    assert (study.trials, study.front()) == (record.trials, front_trials(record))
    assert study.best() == best_trial(record)
    assert study.best(max_latency_ms=1e-6) is None
    assert study.trial(2) == record.trials[2]
    assert study.frame().equals(trials_frame(record))


def test_choosing_is_that_of_the_command_line(study):
    limit_ms = study.record.max_latency_ms
    assert study.choose(max_latency_ms=limit_ms).best == study.best()
    assert study.choose(min_top1=1.0).best.latency.mean_ms == min(t.latency.mean_ms for t in study.record.finished)
    assert study.choose().wish == "the knee of the front"
    with pytest.raises(UsageError, match="both given"):
        study.choose(max_latency_ms=limit_ms, min_top1=1.0)
    with pytest.raises(NothingFeasibleError, match="99 % top-1"):
        study.choose(min_top1=99.0)


def test_what_cannot_be_had_is_an_error_of_the_command_line(study, runs):
    with pytest.raises(UsageError, match=r"no study 'nope' in .*demo"):
        load_study("nope", runs_dir=runs)
    with pytest.raises(UsageError, match="no study 'nope'"):
        resume("nope", runs_dir=runs)
    with pytest.raises(UsageError, match="given twice"):
        study.compare(1, 1)
    with pytest.raises(UsageError, match="no trial 99"):
        study.show(99)
    with pytest.raises(CheckpointError, match="no whole checkpoint of trial 1"):
        study.compare(1, 2, evaluate=True)


def test_the_examples_of_the_page_run(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs.parent)
    _, looking, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)  # all of them: tests/integration
    names = {}
    exec(compile(looking, "api.md", "exec"), names)  # noqa: S102  # our own page
    assert str(names["choice"].trial.number) in capsys.readouterr().out


def test_the_example_experiment_runs(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs.parent)
    names = runpy.run_path(str(ROOT / "experiments" / "explore_study.py"))
    out = capsys.readouterr().out
    assert out.startswith("demo: ")
    assert all(f"trial {trial.number:>3}: {trial.top1:.2f} %" in out for trial in names["study"].front())
