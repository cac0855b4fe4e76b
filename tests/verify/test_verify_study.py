"""The whole way: real folders, storage, checkpoints, MLflow and the command line."""

import json
import stat

import finished_study
import pytest
from mlflow_database import give_mlflow_database

from search.cli import run
from search.records import EndCause, SearchEnd
from search.study import read_study
from search.tracking import sync
from search.verify import Expected, Invariant, Outcome, verify_study
from spvit.errors import UsageError
from trainers.safe_folder import write_folder

DONE = SearchEnd(cause=EndCause.TRIALS, reason="done")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study with a checkpoint of each complete trial and an export, all in MLflow."""
    directory = tmp_path_factory.mktemp("runs")
    config = finished_study.experiment(directory)
    folder = finished_study.make_study(config, finished_study.table(), num_trials=6)
    _end(folder)
    study = read_study(folder)
    for trial in study.finished:
        _write(folder / "trials" / str(trial.number), "checkpoint-000003", {"weights": f"{trial.top1}"})
    best = study.finished[-1]
    report = json.dumps({"study": study.name, "trial": best.number, "searched_top1": best.top1})
    _write(folder / "export", "best", {"certificate.json": report})
    finished_study.table().save(folder / "latency_table.json")
    give_mlflow_database(directory)  # MLflow takes long to make one
    sync(read_study(folder))
    return folder


def _end(folder):
    import optuna

    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")
    study.set_user_attr("end", {"cause": "exhausted", "reason": "done"})


def _write(parent, name, files):
    parent.mkdir(parents=True, exist_ok=True)
    write_folder(parent / name, {file: (lambda path, text=text: path.write_text(text)) for file, text in files.items()})


def test_a_finished_study_keeps_every_invariant(made):
    report = verify_study(made, Expected(before=read_study(made), undisturbed=read_study(made)))
    assert report.violations == ()
    assert {finding.outcome for finding in report.findings} == {Outcome.HOLDS}
    assert report[Invariant.TRACKED].note == "8 runs in MLflow; 1 exports"
    assert report[Invariant.FILES_WHOLE].note == "6 checkpoints, 1 exports"


def test_looking_changes_nothing(made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    verify_study(made)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_the_command_prints_a_line_for_each_invariant(made, capsys):
    assert run(["verify", made.name, "--runs-dir", str(made.parent), "--same-front-as", made.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [str(invariant) for invariant in Invariant]
    assert all(line[4:].startswith("ok ") for line in lines[1:])


def test_what_is_broken_in_a_folder_is_found_there(made, capsys):
    broken = made / "trials" / "1" / "checkpoint-000003" / "weights"
    whole = broken.read_text()
    left, secret, token = made / "study.json.tmp", made / "report.md", made / "ray_token"
    try:
        broken.write_text(whole + "0")
        left.touch()
        token.write_text("0123456789abcdef")
        token.chmod(0o600)
        secret.write_text("see postgresql://me:hunter2@db/studies and 0123456789abcdef")
        code = run(["verify", made.name, "--runs-dir", str(made.parent), "--json"])
    finally:
        broken.write_text(whole)
        for path in (left, secret, token):
            path.unlink(missing_ok=True)
    printed = capsys.readouterr().out
    document = json.loads(printed)
    assert code == 12
    violated = {row["id"]: [v["where"] for v in row["violations"]] for row in document["invariants"]}
    assert not document["is_ok"]
    assert "trials/1/checkpoint-000003" in violated["I7"]
    assert violated["I6"] == ["study.json.tmp"]
    assert violated["I8"] == ["report.md", "report.md"]
    assert "hunter2" not in printed
    assert "0123456789abcdef" not in printed


def test_a_latency_table_that_is_gone_is_found_missing(made):
    table = made / "latency_table.json"
    kept = table.read_bytes()
    try:
        table.unlink()
        told = verify_study(made)[Invariant.FILES_WHOLE].violations
    finally:
        table.write_bytes(kept)
    assert [violation.what for violation in told] == [
        f"{table} is missing, the table that the study was searched with; put it back from a copy"
    ]


def test_a_file_with_a_secret_is_its_owners_alone(made):
    file = made / "study.json"
    mode = stat.S_IMODE(file.stat().st_mode)
    try:
        file.chmod(0o644)
        told = verify_study(made)[Invariant.FAILURES_TOLD].violations
    finally:
        file.chmod(mode)
    assert [violation.where for violation in told] == ["study.json"]


def test_a_study_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no study 'nothing'"):
        verify_study(tmp_path / "nothing")
