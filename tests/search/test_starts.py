"""Starting points: the user's own, those of the literature, the knee; within the budget, or said and counted."""

import logging

import pytest
import tabulated
from test_warm_starts import RATES, plan, starts_of, tokens

from search.budget import LatencyBudget
from search.config import ExperimentConfig
from search.experiment import validate
from search.proposer import Proposer
from search.records import Origin, Rejection
from search.space import SearchSpace
from search.starts import enqueued_starts
from search.study_report import experiment_toml
from search.warm_starts import Rates, WarmStartName
from spvit.errors import ConfigError
from spvit.schedule import Level, TokenGeometry

WIDE = Rates(blocks=(3, 6, 9), low=0.1, high=1.0)
OWN = {"label": "ours", "keep_rates": [0.6, 0.4, 0.3], "params": {"ratio": 2.0}}


def only(name, fits=lambda _: True, rates=WIDE, **kwargs):
    found = starts_of(fits, names=(name,), rates=rates, **kwargs)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "rates"), [(WarmStartName.DYNAMICVIT, (0.7, 0.49, 0.343)), (WarmStartName.SPVIT, (0.617, 0.369, 0.137))]
)
def test_published_schedules_are_tried_as_published_where_they_fit(name, rates):
    start = only(name)
    assert start.schedule.keep_rates == pytest.approx(rates)
    assert start.is_exact
    assert start.label.startswith(f"{name} [{str(rates[0]).removeprefix('0')}")


@pytest.mark.parametrize("name", [WarmStartName.DYNAMICVIT, WarmStartName.SPVIT])
def test_published_schedules_that_do_not_fit_are_scaled_to_use_the_budget_up(name):
    published = only(name).schedule
    budget = 0.9 * tokens(published)
    start = only(name, lambda s: tokens(s) <= budget)
    assert 0.97 * budget < tokens(start.schedule) <= budget
    assert not start.is_exact
    assert start.label == f"{name}, scaled to fit"
    first, *others = (a / b for a, b in zip(start.schedule.keep_rates, published.keep_rates, strict=True))
    assert others == pytest.approx([first] * 2, rel=0.02) or min(start.schedule.keep_rates) == WIDE.low


def test_published_schedules_that_cannot_be_are_left_out():
    assert only(WarmStartName.SPVIT, rates=Rates(blocks=(4, 8), low=0.1, high=1.0)) is None
    assert only(WarmStartName.SPVIT, lambda _: False) is None


def test_the_knee_is_where_the_latency_begins_to_rise():
    def cost_ms(schedule):
        return max(100, schedule.stages[0].num_kept(196)) / 10

    knee = only(WarmStartName.KNEE, cost_ms=cost_ms).schedule
    assert {stage.num_kept(196) for stage in knee.stages} == {100}
    assert only(WarmStartName.KNEE, lambda s: s.stages[0].keep_rate < 0.4, cost_ms=cost_ms) is None
    assert only(WarmStartName.KNEE, cost_ms=lambda s: float(s.stages[0].num_kept(196))) is None
    assert only(WarmStartName.KNEE, cost_ms=lambda _: 1.0) is None


def test_every_name_is_within_the_space_and_the_budget():
    budget = 0.6 * 12 * 197
    starts = starts_of(lambda s: tokens(s) <= budget, names=tuple(WarmStartName))
    assert len(starts) >= 5
    for start in starts:
        assert sum(plan(start.schedule).block_tokens) <= budget
        assert all(RATES.low <= rate <= RATES.high for rate in start.schedule.keep_rates)


def experiment(directory, *starts, **search):
    return tabulated.experiment(directory, enqueue=list(starts), **search)


def proposer_of(config, max_ms=None):
    space = SearchSpace(config, tabulated.GEOMETRY)
    budget = LatencyBudget.from_config(config.latency, tabulated.dense())
    budget = budget if max_ms is None else LatencyBudget(max_ms=max_ms, source="a test")
    return Proposer(space, price=tabulated.price, budget=budget, config=config.search, seed=1)


def test_own_starting_points_are_tried_first_and_just_as_they_are(tmp_path):
    raw = {"params": {"keep1": 0.5, "keep2_share": 0.2, "keep3_share": 0.0}}
    proposer = proposer_of(experiment(tmp_path, OWN, raw))
    first, second, third = (proposer.propose(number) for number in range(3))
    assert first.config.pruning.schedule.keep_rates == pytest.approx((0.6, 0.4, 0.3))
    assert (first.label, first.origin, first.config.losses.ratio) == ("ours", Origin.ENQUEUED, 2.0)
    assert second.config.pruning.schedule.keep_rates == pytest.approx((0.5, 0.22, 0.15))
    assert (second.label, second.params["ratio"]) == ("start 1", 2.0)
    assert third.origin is Origin.WARM_START


def test_a_start_over_the_budget_is_said_and_counted_once_and_never_trained(tmp_path, caplog):
    slow = {"label": "slow", "keep_rates": [0.9, 0.9, 0.9]}
    config = experiment(tmp_path, slow, OWN, warm_starts=False)
    store, proposer = tabulated.make_store(config), proposer_of(config)
    with caplog.at_level(logging.WARNING):
        first = proposer.propose(0)
    assert first.label == "ours"
    assert proposer.rejections == {Rejection.TOO_SLOW: 1}
    assert "slow of [[search.enqueue]] is not trained: it takes up to" in caplog.text
    store.start(first)
    again = proposer_of(config)
    again.restore(store.trials, proposer.rejections)
    assert again.propose(1).origin is Origin.SAMPLER
    assert again.rejections[Rejection.TOO_SLOW] == proposer.rejections[Rejection.TOO_SLOW]


def test_starting_points_may_be_added_to_a_study_that_goes_on(tmp_path):
    config = experiment(tmp_path, warm_starts=False, num_trials=2)
    tabulated.run(tabulated.make_driver(config))
    more = experiment(tmp_path, OWN, warm_starts=False, num_trials=3)
    tabulated.run(tabulated.make_driver(more))
    assert [t.label for t in tabulated.make_store(more).trials if t.origin is Origin.ENQUEUED] == ["ours"]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"params": {"ratoi": 1.0}}, r"search\.enqueue\[0\]\.params\.ratoi: no such parameter.*ratio was required"),
        ({"params": {"ratio": 9.0}}, r"search\.enqueue\[0\]\.params\.ratio: 0\.1 to 4\.0 was required, but got 9\.0"),
        ({"keep_rates": [0.95, 0.4, 0.3]}, r"search\.enqueue\[0\]\.keep_rates: keep rates must lie in 0\.15 to 0\.9"),
        ({"keep_rates": [0.5]}, r"search\.enqueue\[0\]\.keep_rates: the search space has 3 selectors, but got 1"),
        ({"keep_rates": [0.5, 0.4, 0.3], "blocks": [1, 2, 3]}, r"blocks \[1, 2, 3\] are not in the search space"),
        ({"params": {"keep1": 0.5}}, r"search\.enqueue\[0\] needs keep_rates, or params\.keep2_share"),
    ],
)
def test_a_start_outside_of_the_space_is_refused_by_its_key(tmp_path, start, message):
    config = experiment(tmp_path, start)
    with pytest.raises(ConfigError, match=message):
        enqueued_starts(config.search.enqueue, SearchSpace(config, tabulated.GEOMETRY))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({}, r"`search\.enqueue\[0\]`: a start needs keep_rates, params, or both"),
        ({"keep_rates": [0.3, 0.5]}, r"`search\.enqueue\[0\]`: Keep rates must not rise"),
        ({"blocks": [1]}, r"`search\.enqueue\[0\]`: blocks need keep_rates"),
        ({"keep_rate": [0.5]}, r"unknown key `search\.enqueue\[0\]\.keep_rate`"),
    ],
)
def test_a_start_that_says_nothing_sensible_is_refused_when_the_file_is_read(tmp_path, start, message):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["enqueue"] = [start]
    with pytest.raises(ConfigError, match=message):
        validate(values, source="a test")


def test_names_of_warm_starts_are_checked_and_true_and_false_still_mean_what_they_did(tmp_path):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    for given, wanted in ((True, 3), (False, 0), (["knee", "spvit"], 2)):
        values["search"]["warm_starts"] = given
        assert len(validate(values, source="a test").search.warm_starts) == wanted
    values["search"]["warm_starts"] = ["spvit", "evit"]
    with pytest.raises(ConfigError, match=r"`search\.warm_starts\[1\]`: 'dynamicvit', .* but got 'evit'"):
        validate(values, source="a test")


def test_a_space_of_base_rates_begins_with_what_it_can_hold(tmp_path):
    space = {"base_keep_rate": {"low": 0.4, "high": 0.95}}
    config = tabulated.experiment(tmp_path, space=space, warm_starts=[str(name) for name in WarmStartName])
    proposals = [proposer_of(config, max_ms=9.0).propose(0), proposer_of(config, max_ms=5.0).propose(0)]
    assert proposals[0].label == "dynamicvit [.7, .49, .343]"
    assert proposals[1].label == "dynamicvit, scaled to fit"
    assert all(proposal.origin is Origin.WARM_START for proposal in proposals)


def test_published_schedules_mean_nothing_where_patches_are_pooled(tmp_path):
    levels = TokenGeometry.of_levels([Level(num_blocks=2, num_patches=n) for n in (49, 16, 9)])
    config = tabulated.experiment(tmp_path, warm_starts=["dynamicvit", "spvit"])
    space = SearchSpace(ExperimentConfig.model_validate(config.model_dump(mode="json")), levels)
    budget = LatencyBudget(max_ms=100.0, source="a test")
    proposer = Proposer(space, price=tabulated.price, budget=budget, config=config.search, seed=1)
    assert proposer.propose(0).origin is Origin.SAMPLER


def test_starting_points_are_kept_in_the_experiment_that_a_study_writes(tmp_path):
    values = experiment(tmp_path, {"keep_rates": [0.6, 0.4, 0.3]}, OWN).model_dump(mode="json")
    import tomllib

    assert validate(tomllib.loads(experiment_toml(values)), source="a test").model_dump(mode="json") == values
