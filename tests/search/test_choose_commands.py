import csv
import io
import json
from dataclasses import replace

import finished_study
import pytest

from search.choosing import binomial, choose_to_take
from search.cli import run
from search.commands.choice_text import choice_document, choice_lines, taken_lines
from search.commands.csv_text import csv_text
from search.study import read_study
from spvit.errors import ExitCode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    return finished_study.make_study(finished_study.experiment(directory), finished_study.table(), num_trials=6)


@pytest.fixture
def call(folder, capsys):
    def called(*arguments, code=ExitCode.OK):
        assert run([*map(str, arguments), "--runs-dir", str(folder.parent)]) == code
        told = capsys.readouterr()
        return told.out + told.err

    return called


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("arguments", [("trials", "small"), ("pareto", "small")])
def test_rows_are_the_same_as_json_and_as_csv(call, arguments):
    document = json.loads(call(*arguments, "--json"))
    rows = document.get("trials") or document["front"]
    told = rows_of(call(*arguments, "--csv"))
    assert [int(row["number"]) for row in told] == [row["number"] for row in rows]
    for text, row in zip(told, rows, strict=True):
        assert {name: value for name, value in text.items() if value} == {
            name: str(value) for name, value in row.items() if value not in (None, "")
        }


def test_status_as_csv_is_one_row(call, folder):
    (row,) = rows_of(call("status", "small", "--csv"))
    status = json.loads(call("status", "small", "--json"))
    assert (int(row["counts.COMPLETE"]), row["name"]) == (status["counts"]["COMPLETE"], "small")
    assert float(row["best.top1"]) == status["best"]["top1"]
    assert row["directory"] == str(folder)


def test_json_and_csv_together_are_refused(call):
    assert "--json and --csv were both given" in call("trials", "small", "--csv", "--json", code=ExitCode.USAGE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("export", "small", "--schedules", "2", "--format", "onnx"), "leave out --format, --no-register"),
        (("export", "small", "--schedules", "2", "--no-register"), "leave out --format, --no-register"),
        (("finish", "small", "--epochs", "9", "--trial", "1", "--top", "2"), "there is no choice with --trial"),
    ],
)
def test_options_that_would_do_nothing_are_refused(call, arguments, told):
    assert told in call(*arguments, code=ExitCode.USAGE)


def test_show_says_all_that_is_known_of_a_trial(call, folder):
    trial = read_study(folder).trials[2]
    shown = json.loads(call("show", "small", 2, "--json"))
    assert [stage["num_kept"] for stage in shown["stages"]] == list(trial.keep_counts)
    assert shown["curve"] == list(trial.curve)
    assert shown["config"] == json.loads(json.dumps(dict(trial.config)))
    curve = rows_of(call("show", "small", 2, "--csv"))
    assert [float(row["top1"]) for row in curve] == list(trial.curve)
    text = call("show", "small", 2, "--config")
    assert f"{trial.latency.mean_ms:.3f} ms predicted" in text
    assert "none is left" in text
    assert "not tracked yet" in text
    assert "config       training.epochs = 3" in text
    assert "reason       behind" in call("show", "small", 6)
    assert "no trial 99; its trials are: 0 to 6" in call("show", "small", 99, code=ExitCode.USAGE)


def test_compare_names_what_differs_and_no_more(call, folder):
    first, second = read_study(folder).trials[1:3]
    pair = json.loads(call("compare", "small", 1, 2, "--json"))
    differing = {difference["key"] for difference in pair["config"]}
    assert ("losses.ratio" in differing) == (first.config["losses"]["ratio"] != second.config["losses"]["ratio"])
    assert "training.epochs" not in differing
    ratio = pair["latency_ratio"]
    assert ratio["ratio"] == pytest.approx(first.latency.mean_ms / second.latency.mean_ms)
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert pair["top1"] is None  # this study does not say on how many images
    assert "the study does not say" in call("compare", "small", 1, 2)
    assert [row["key"] for row in rows_of(call("compare", "small", 1, 2, "--csv"))] == sorted(differing)
    assert "given twice" in call("compare", "small", 1, 1, code=ExitCode.USAGE)


def test_pareto_chooses_and_names_the_way_home(call, folder):
    study = read_study(folder)
    choice = json.loads(call("pareto", "small", "--min-top1", 1, "--json"))["choice"]
    assert choice["trial"]["latency_ms"] == min(trial.latency.mean_ms for trial in study.finished)
    text = call("pareto", "small", "--knee")
    assert "the knee of the front: trial" in text
    assert "did not note how many validation images" in text
    assert "spvit-search export small --trial" in text
    (row,) = rows_of(call("pareto", "small", "--min-top1", 1, "--csv"))
    assert int(row["number"]) == choice["trial"]["number"]


def test_what_is_taken_instead_of_the_best_is_said_with_the_way_to_the_other(study):
    trials = tuple(replace(trial, top1=86.5) if trial.number == 1 else trial for trial in study.trials)
    few = replace(study, trials=trials, num_val_images=900)
    choice = choose_to_take(few, binomial(few), max_latency_ms=6.1)
    hint = "--evaluate compares image by image, which tells more trials apart"
    assert taken_lines(choice, few, "export") == [
        "the most accurate within 6.1 ms: trial 2: 88.00 % at 5.95 ms (1.68 times as fast as dense)",
        "taken instead: trial 1: 86.50 % at 5.00 ms (2.00 times as fast as dense),",
        choice.reason,
        f"for the other one: spvit-search export small --trial 2; {hint}",
    ]
    document = choice_document(choice, few)
    assert (document["trial"]["number"], document["best"], document["difference"]) == (1, 2, choice.difference)
    assert taken_lines(choose_to_take(few, binomial(few), number=2), few, "export") == []
    assert taken_lines(choose_to_take(study, binomial(study), max_latency_ms=6.1), study, "export") == []


def test_images_too_few_to_tell_anything_are_named(study):
    blurred = replace(study, num_val_images=300)
    lines = choice_lines(choose_to_take(blurred, binomial(blurred), max_latency_ms=6.1), blurred)
    assert "also equal to trial 2 within the noise: 1 (85.00 %, 5.00 ms), 3 (84.00 %, 5.50 ms)" in lines
    assert any(line.startswith("300 images may hide 4.") and "no other is preferred" in line for line in lines)
    assert lines[-1] == "take trial 2: spvit-search export small --trial 2"


@pytest.mark.parametrize(
    ("wish", "miss"), [(("--max-latency-ms", "1e-4"), r"too much; raise"), (("--min-top1", "100"), "points too little")]
)
def test_nothing_meets_it_is_an_exit_code_with_the_miss(call, wish, miss):
    assert miss in call("pareto", "small", *wish, code=ExitCode.NOTHING_FEASIBLE)


def test_cells_that_hold_commas_and_what_rows_lack_survive():
    text = csv_text([{"reason": "a, b", "x": 1}, {"y": [1, 2], "reason": float("nan")}])
    assert text.splitlines()[0] == "x,y,reason"
    assert rows_of(text) == [{"x": "1", "y": "", "reason": "a, b"}, {"x": "", "y": "1 2", "reason": ""}]
