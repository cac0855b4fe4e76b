"""How a search went: growth of the front, importances, slices, the knee; on whole, unfinished and empty studies."""

import json
import math
from dataclasses import replace
from pathlib import Path

import finished_study
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.analysis_plots import analysis_pictures
from search.cli import run
from search.history import history
from search.importance import MIN_TRIALS, beyond_latency, importances
from search.pareto import hypervolume
from search.records import Origin, TrialState
from search.results import history_frame, importance_frame, knee_trial, slices_frame
from search.selection import trial_points
from search.study_report import study_note, write_study_files
from search.summary import summarise


def _dependent(study, make_trial, num=24):
    """Latency rises with `keep1`; top-1 with latency, and with `kind` at any latency; `idle` does nothing."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(num):
        keep, idle, kind = rng.uniform(0.2, 1.0), rng.uniform(0.1, 4.0), str(rng.choice(["light", "multi_head"]))
        params = {"keep1": keep, "idle": idle, "kind": kind}
        trials.append(make_trial(number, 70 + 10 * keep + 3 * (kind == "multi_head"), 3 + 4 * keep, params=params))
    return replace(study, trials=tuple(trials))


def test_the_last_moment_is_the_study_as_it_stands(study):
    last, summary = history(study)[-1], summarise(study)
    assert last.hypervolume == pytest.approx(summary.hypervolume)
    assert last.num_epochs == summary.num_epochs_trained
    assert last.best_top1 == summary.best.top1
    assert [m.number for m in history(study)] == [0, 1, 2, 3, 4]
    assert [m.elapsed_s for m in history(study)] == [8.0, 18.0, 28.0, 38.0, 48.0]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases=st.lists(st.tuples(st.floats(1, 99), st.floats(1, 9), st.floats(0, 100)), max_size=12))
def test_every_moment_has_the_hypervolume_of_the_trials_before_it(study, make_trial, cases):
    trials = tuple(make_trial(n, top1, ms, finished_at=end) for n, (top1, ms, end) in enumerate(cases))
    for moment in history(replace(study, trials=trials)):
        ended = sorted(trials, key=lambda t: (t.finished_at, t.number))[: moment.num_trials]
        points = trial_points(replace(study, trials=tuple(ended)))
        assert moment.hypervolume == pytest.approx(hypervolume(points, min_top1=0.0, max_latency_ms=10.0))


def test_an_epoch_trained_before_an_interruption_counts_once(study, make_trial):
    lost = make_trial(0, 0.0, 5.0, state=TrialState.FAIL, curve=(60.0, 61.0))
    again = make_trial(1, 62.0, 5.0, curve=(60.0, 61.0, 62.0), origin=Origin.RETRY, retry_of=0)
    assert history(replace(study, trials=(lost, again)))[-1].num_epochs == 3


def test_importances_tell_what_counts_at_equal_latency_from_what_makes_models_slow(study, make_trial):
    found = importances(_dependent(study, make_trial))
    rows = {row.name: row for row in found.rows}
    assert found.rows[0].name == "kind"
    assert rows["kind"].beyond_latency > 0.8
    assert rows["keep1"].top1 > rows["idle"].top1
    assert sum(row.top1 for row in found.rows) == pytest.approx(1.0)
    assert found == importances(_dependent(study, make_trial))


def test_parameters_that_not_every_trial_has_are_named_and_left_out(study, make_trial):
    whole = _dependent(study, make_trial, num=8)
    first = replace(whole.trials[0], params={k: v for k, v in whole.trials[0].params.items() if k != "idle"})
    found = importances(replace(whole, trials=(first, *whole.trials[1:])))
    assert {row.name for row in found.rows} == {"keep1", "kind"}
    assert "idle" in found.note


def test_beyond_latency_is_nothing_where_latency_explains_all():
    ms = [1.0, 2.0, 3.0, 5.0, 8.0]
    top1 = np.array([70 + 4 * math.log(x) - 0.5 * math.log(x) ** 2 for x in ms])
    assert np.abs(beyond_latency(top1, ms)).max() < 1e-9
    assert beyond_latency(np.array([1.0, 3.0]), [2.0, 2.0]).tolist() == [-1.0, 1.0]


def test_slices_have_a_row_for_every_parameter_of_every_trial_that_was_trained(study):
    frame = slices_frame(study)
    assert len(frame) == 5 * 3
    pruned = frame[(frame["number"] == 4) & (frame["parameter"] == "ratio")].iloc[0]
    assert (pruned["value"], pruned["top1"], pruned["latency_ms"]) == (5.5, 70.0, 4.0)


def test_the_knee_is_on_the_front_and_named_in_the_note(study, make_trial):
    points = ((70.0, 2.0), (84.0, 3.0), (85.0, 9.0))
    bent = replace(study, trials=tuple(make_trial(n, *point) for n, point in enumerate(points)))
    assert knee_trial(bent).number == 1
    assert "knee of the front: trial 1, 84.00 % at 3.00 ms" in study_note(bent)
    assert knee_trial(study) is None
    assert "knee" not in study_note(study)


@pytest.mark.parametrize("num_trials", [0, 1, 2, 6])
def test_unfinished_studies_have_a_report_that_says_what_is_missing(study, tmp_path, num_trials):
    part = replace(study, trials=study.trials[:num_trials])
    paths = write_study_files(part, tmp_path)
    assert {"history.png", "importance.png", "slices.png", "history.csv", "importance.csv"} <= {p.name for p in paths}
    assert (tmp_path / "pareto.html").read_text().count("data:image/png;base64,") == 3
    assert sum(path.stat().st_size for path in paths) < 1_000_000
    assert f"{MIN_TRIALS} are needed" in importance_frame(part).attrs["note"]
    assert len(history_frame(part)) == min(num_trials, 5)


def test_pictures_show_categories_and_numbers(study, make_trial):
    whole = _dependent(study, make_trial)
    pictures = analysis_pictures(whole, importances(whole))
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())
    assert len({*pictures.values()}) == 3


def test_the_command_writes_the_report_of_a_study_that_is_there(tmp_path, capsys):
    finished_study.make_study(finished_study.experiment(tmp_path / "runs"), finished_study.table(), num_trials=3)
    assert run(["report", "small", "--runs-dir", str(tmp_path / "runs"), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert all(Path(file).stat().st_size > 0 for file in files)
    assert (tmp_path / "runs" / "small" / "report" / "importance.png").exists()
    assert run(["report", "none", "--runs-dir", str(tmp_path / "runs")]) == 2
    blocked = tmp_path / "file"
    blocked.touch()
    assert run(["report", "small", "--runs-dir", str(tmp_path / "runs"), "--output", str(blocked / "x")]) == 8
