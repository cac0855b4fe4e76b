"""Several latency budgets: the largest is the cap, the best trial is named within each."""

from dataclasses import replace

import pytest
import tabulated
from hypothesis import given
from hypothesis import strategies as st

from search.budget import LatencyBudget
from search.commands import status
from search.config import ExperimentConfig
from search.experiment import validate
from search.latency_config import LatencyConfig
from search.plot_data import plot_data
from search.records import Latency, Origin
from search.report import final_report
from search.retarget import AskedBudget
from search.search_progress import SearchProgress
from search.selection import best_trial
from search.study import read_study
from search.study_report import study_note
from search.study_updates import search_progress, search_started
from search.summary import summarise
from spvit.errors import ConfigError

pytestmark = pytest.mark.usefixtures("few_candidates")

DENSE = Latency(mean_ms=10.0, low_ms=9.9, high_ms=10.1)
LIMITS = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5, unique=True)


def _with_budgets(tmp_path, budgets, **search):
    values = tabulated.experiment(tmp_path, **search).model_dump(mode="json")
    values["latency"]["max_latency_share"] = budgets
    return ExperimentConfig.model_validate(values)


@given(limits=LIMITS)
def test_the_cap_is_the_largest_of_several_budgets_in_whatever_order(limits):
    in_ms = LatencyBudget.from_config(LatencyConfig(max_latency_ms=limits), DENSE)
    in_shares = LatencyBudget.from_config(LatencyConfig(max_latency_share=limits), DENSE)
    assert in_ms.all_ms == tuple(sorted(limits))
    assert in_shares.all_ms == tuple(share * 10.0 for share in sorted(limits))
    assert in_ms.max_ms == max(limits)
    assert [budget.max_ms for budget in in_ms.each] == sorted(limits, reverse=True)
    assert f"= {max(limits):g} of 10.000 ms" in in_shares.source


@given(limit=st.floats(0.01, 1.0))
def test_one_budget_in_a_list_is_that_budget(limit):
    listed, plain = LatencyConfig(max_latency_ms=[limit]), LatencyConfig(max_latency_ms=limit)
    assert LatencyBudget.from_config(listed, DENSE) == LatencyBudget.from_config(plain, DENSE)


@pytest.mark.parametrize(
    ("latency", "text"),
    [
        ({"max_latency_ms": []}, "`latency.max_latency_ms`: one budget or more, all different"),
        ({"max_latency_ms": [8, 8]}, "`latency.max_latency_ms`: one budget or more, all different"),
        ({"max_latency_ms": [8, "a"]}, r"`latency.max_latency_ms\[1\]`: a number was required, but got 'a'"),
        ({"max_latency_ms": "a"}, "`latency.max_latency_ms`: a number was required, but got 'a'"),
        ({"max_latency_share": [0.5, 1.5]}, r"`latency.max_latency_share\[1\]`: at most 1"),
        ({"max_latency_share": [0.5], "max_latency_ms": [8]}, "max_latency_ms or max_latency_share, not both"),
    ],
)
def test_budgets_that_cannot_be_are_refused_by_their_place(latency, text):
    values = {"study": {"name": "x"}, "model": {"name": "m"}, "data": {"path": "d"}, "latency": latency}
    with pytest.raises(ConfigError, match=text):
        validate(values, source="x.toml")


def test_a_search_covers_the_largest_budget_and_starts_at_the_edge_of_each(tmp_path):
    config = _with_budgets(tmp_path, [0.7, 0.6], num_trials=8, sampler="random")
    driver = tabulated.make_driver(config)
    tabulated.run(driver)
    driver.finish()
    study = read_study(tmp_path / "toy")
    dense_ms = tabulated.dense().mean_ms
    assert study.budgets_ms == (0.6 * dense_ms, 0.7 * dense_ms)
    starts = [trial for trial in study.trials if trial.origin is Origin.WARM_START]
    assert all(trial.latency.high_ms <= study.max_latency_ms for trial in starts)
    assert [trial.label.split("budget of ")[1] for trial in starts] == ["7 ms"] * 3 + ["6 ms"] * 3
    assert all(trial.latency.high_ms <= study.budgets_ms[0] for trial in starts[3:])
    names = [best_trial(study, limit_ms).number for limit_ms in study.budgets_ms]
    assert [budget.best.number for budget in summarise(study).budgets] == names


def test_every_view_names_the_best_within_each_budget(study):
    several = replace(study, smaller_budgets_ms=(4.0, 5.5))
    summary = summarise(several)
    assert [None if b.best is None else b.best.number for b in summary.budgets] == [None, 1, 1]
    text = status.summary_text(summary, is_running=False)
    assert "within    4.000 ms: none within the budget yet" in text
    assert "within    5.500 ms: trial 1: 85.00 %" in text
    note = study_note(several)
    assert "* No finished trial is within the budget of 4 ms." in note
    assert "* Best under 5.5 ms: **85.00 % top-1" in note
    report = final_report(several)
    assert "best under 5.5 ms (trial 1)" in [row.name for row in report.models]
    assert "spvit-search export small --max-latency-ms 5.5" in report.next_commands
    assert plot_data(several).budgets_ms == (4.0, 5.5, 6.0)


def test_mlflow_is_told_of_every_budget(study):
    several = replace(study, smaller_budgets_ms=(4.0, 5.5))
    assert search_started(several, now_ms=0).tags["spvit.smaller_budgets_ms"] == "4, 5.5"
    points = {point.key: point.value for point in search_progress(SearchProgress.of(several), now_ms=0).metrics}
    assert points["best_top1_within_5.5_ms"] == 85.0
    assert "best_top1_within_4_ms" not in points


def test_budgets_go_to_another_device_in_proportion(study):
    several = replace(study, smaller_budgets_ms=(4.0, 5.0))
    there = AskedBudget().on(several, Latency(mean_ms=20.0, low_ms=19.0, high_ms=21.0))
    assert there.all_ms == (8.0, 10.0, 12.0)


def test_one_budget_is_told_as_before(study):
    assert "within" not in status.summary_text(summarise(study), is_running=False).replace("within the", "")
    assert study_note(study).splitlines()[2].startswith("Best under 6 ms")
