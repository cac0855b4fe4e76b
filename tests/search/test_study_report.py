import json
import tomllib
from dataclasses import replace

from search.study_report import experiment_toml, study_note, write_study_files


def test_every_file_is_written_and_the_table_is_the_front(study, tmp_path):
    paths = write_study_files(study, tmp_path / "report")
    assert all(path.stat().st_size > 0 for path in paths)
    table = json.loads((tmp_path / "report" / "pareto.table.json").read_text())
    assert [row[table["columns"].index("number")] for row in table["data"]] == [1, 2]


def test_no_password_is_in_any_file(study, tmp_path):
    secret = {"study": {"name": "small", "storage": "postgresql://me:canary@db/studies"}} | {
        "tracking": {"uri": "https://me:canary@mlflow.example"}
    }
    paths = write_study_files(replace(study, experiment=study.experiment | secret), tmp_path / "report")
    assert all(b"canary" not in path.read_bytes() for path in paths)
    written = tomllib.loads((tmp_path / "report" / "experiment.toml").read_text())
    assert written["tracking"] == {"uri": "https://mlflow.example"}
    assert written["study"] == {"name": "small", "storage": "postgresql://db/studies"}


def test_experiment_survives_toml_without_its_nulls():
    experiment = {"study": {"name": "x", "storage": None}, "rates": [0.5, 0.25], "losses": {"ratio": 2.0}}
    assert tomllib.loads(experiment_toml(experiment)) == {
        "study": {"name": "x"},
        "rates": [0.5, 0.25],
        "losses": {"ratio": 2.0},
    }


def test_note_names_the_best_trial_and_the_counts(study):
    note = study_note(study)
    assert "**85.00 % top-1 at 5.00 ms** (trial 1), 2.00 times as fast" in note
    assert "4 trials trained in full, 1 stopped early, 0 interrupted, 1 failed" in note
    assert "7 too_slow, 0 duplicate" in note


def test_note_of_a_study_with_nothing_in_budget_says_so(study):
    assert "No finished trial is within the budget of 1 ms" in study_note(replace(study, max_latency_ms=1.0))
