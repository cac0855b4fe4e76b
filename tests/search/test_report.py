import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_tables.key import DType, Runtime
from search.certificate import Certificate, Verdict
from search.export_report import ExportReport
from search.report import _rounded_up, final_report
from search.report_text import report_text


def certificate(top1, ratio):
    return Certificate(
        val_top1=top1, test_top1=top1 - 1, p50_ms=9 * ratio, p95_ms=11 * ratio, ratio=ratio, ratio_low=ratio,
        ratio_high=ratio,
    )  # fmt: skip


@pytest.fixture
def exported(study):
    return ExportReport(
        study=study.name, trial=1, directory="runs/small/export/trial_1",
        models={
            "dense": certificate(90.0, 1.0), "exported": certificate(85.0, 0.5),
            "fixed schedule": certificate(80.0, 0.6),
        },
        predicted=study.trials[1].latency, dense_ms=10.0, max_latency_ms=6.0, verdict=Verdict.MET, searched_top1=85.0,
        keep_rates=(0.8, 0.5), num_parameters=1000, batch_size=1, num_threads=1, device="cpu-a", table_device="cpu-a",
        runtime=Runtime.EAGER, table_runtime=Runtime.EAGER, dtype=DType.FLOAT32,
        weights_sha256="0" * 64, created_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip


def test_three_models_are_compared(study, exported):
    rows = {row.name: row for row in final_report(study, exported).models}
    assert list(rows) == ["dense", "fixed [.7, .49]", "best under 6 ms (trial 1)"]
    best = rows["best under 6 ms (trial 1)"]
    assert (best.val_top1, best.test_top1, best.predicted_ms, best.measured_ms) == (85.0, 84.0, 5.0, 4.5)
    assert best.speed_up == pytest.approx(2.0)


def test_without_an_export_nothing_is_claimed_to_be_measured(study):
    report = final_report(study)
    assert all(row.measured_ms is None and row.speed_up is None for row in report.models)
    assert "spvit-search export small" in report.next_commands


def test_a_baseline_that_is_the_best_stands_there_once(study):
    rows = final_report(replace(study, trials=study.trials[:1])).models
    assert [row.name for row in rows] == ["dense", "best under 6 ms (trial 0)"]


def test_what_is_exported_instead_of_the_best_stands_beside_it(study, exported):
    rows = {row.name: row for row in final_report(study, replace(exported, trial=3)).models}
    assert list(rows) == ["dense", "fixed [.7, .49]", "best under 6 ms (trial 1)", "exported (trial 3)"]
    assert rows["best under 6 ms (trial 1)"].measured_ms is None
    assert (rows["exported (trial 3)"].val_top1, rows["exported (trial 3)"].measured_ms) == (85.0, 4.5)


def test_report_is_json(study, exported):
    values = json.loads(json.dumps(final_report(study, exported).to_dict()))
    assert values["verdict"] == "met"
    assert [row["number"] for row in values["front"]] == [1, 2]


def test_text_holds_every_number_and_label_without_colours(study, exported):
    text = final_report(study, exported).to_text()
    for part in (
        "fixed [.7, .49]",
        "85.00",
        "4.500",
        "2.00",
        "4 trained in full, 1 stopped early, 0 interrupted, 1 failed",
    ):
        assert part in text
    assert "7 too slow, 0 duplicate" in text
    assert "runs/small/export/trial_1" in text
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 200


def test_text_of_a_study_without_trials(study):
    assert "0 trained in full" in report_text(final_report(replace(study, trials=(), dense_top1=None)))


def test_times_of_another_device_than_the_budgets_are_not_set_beside_it(study, exported):
    foreign = replace(exported, verdict=Verdict.NOT_ON_TARGET, table_device="board-7")
    report = final_report(study, foreign)
    assert all(row.measured_ms is None and row.speed_up is None for row in report.models)
    assert [row.val_top1 for row in report.models] == [row.val_top1 for row in final_report(study, exported).models]
    assert "Budget 6.000 ms on board-7: not measured on the target." in report.to_text()
    assert "Budget 6.000 ms, measured here: met." in final_report(study, exported).to_text()


def test_export_in_a_few_lines(exported):
    text = exported.to_text()
    assert "85.00 % val, 84.00 % test" in text
    assert "0.500 of the dense model's (0.500 to 0.500): 2.00 times as fast" in text
    assert "budget     6.000 ms: met" in text


@given(st.floats(1e-3, 1e6))
def test_a_budget_as_it_is_to_be_typed_is_short_and_admits_what_just_fits(limit_ms):
    text = _rounded_up(limit_ms)
    assert limit_ms <= float(text) <= limit_ms * (1 + 1e-3)
    assert len(text.replace(".", "").lstrip("0")) <= 8
