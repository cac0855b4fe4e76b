"""What a space can reach: counted and priced one and all, against the naive way."""

import math
from itertools import product

import numpy as np
import pytest
import tabulated
from finished_study import experiment as small_experiment
from finished_study import table as small_table
from hypothesis import example, given, settings
from hypothesis import strategies as st

from search.budget import LatencyBudget, price_from
from search.config import ExperimentConfig
from search.draws import draws, estimated_networks, feasible_share, share_estimate
from search.feasible import check_feasible
from search.networks import all_rates, base_rate_schedules, num_networks, stage_counts
from search.reach import cheapest, count_networks
from search.records import Latency
from search.space import SearchSpace
from search.warm_starts import Rates
from spvit.errors import NothingFeasibleError
from spvit.schedule import Level, PruningSchedule, TokenGeometry

ONE_LEVEL = TokenGeometry(depth=6, num_patches=9)
TWO_LEVELS = TokenGeometry.of_levels([Level(num_blocks=3, num_patches=10), Level(num_blocks=3, num_patches=4)])
BOUNDS = st.tuples(st.floats(0.02, 1.0), st.floats(0.02, 1.0)).map(sorted).filter(lambda b: b[0] < b[1])


def _naive(rates, geometry):
    """Plans of every combination of fine steps between the bounds."""
    steps = np.linspace(rates.low, rates.high, 241).tolist()
    chosen = (c for c in product(steps, repeat=len(rates.blocks)) if list(c) == sorted(c, reverse=True))
    return {PruningSchedule.from_keep_rates(c, rates.blocks).plan(geometry) for c in chosen}


@pytest.mark.parametrize("geometry", [ONE_LEVEL, TWO_LEVELS])
@pytest.mark.parametrize(("low", "high"), [(0.13, 0.97), (0.3, 1.0), (0.5, 0.62)])
def test_networks_are_those_that_fine_steps_find(geometry, low, high):
    rates = Rates(blocks=(1, 4), low=low, high=high)
    stages = stage_counts(rates, geometry)
    plans = [PruningSchedule.from_keep_rates(r, rates.blocks).plan(geometry) for r in all_rates(stages).tolist()]
    assert set(plans) == _naive(rates, geometry)
    assert num_networks(stages) == len(plans) == len(set(plans))


@settings(deadline=None, max_examples=60)
@example(bounds=[0.5, 1.0], blocks=(0, 2, 5))
@given(bounds=BOUNDS, blocks=st.sets(st.integers(0, 5), min_size=1, max_size=4).map(sorted))
def test_listed_rates_lie_within_the_bounds_and_are_as_many_as_are_counted(bounds, blocks):
    rates = Rates(blocks=tuple(blocks), low=bounds[0], high=bounds[1])
    for geometry in (ONE_LEVEL, TWO_LEVELS):
        stages = stage_counts(rates, geometry)
        listed = all_rates(stages)
        assert ((listed >= bounds[0]) & (listed <= bounds[1])).all()
        plans = {PruningSchedule.from_keep_rates(row, rates.blocks).plan(geometry) for row in listed.tolist()}
        assert len(plans) == num_networks(stages)


def test_counts_of_one_level_are_binomial_coefficients():
    """Three stages of 196 patches: non-increasing triples of 1 to 196."""
    rates = Rates(blocks=(3, 6, 9), low=1e-6, high=1.0)
    assert num_networks(stage_counts(rates, TokenGeometry(depth=12, num_patches=196))) == math.comb(198, 3)


@settings(deadline=None, max_examples=30)
@given(bounds=BOUNDS)
def test_base_rates_are_those_that_fine_steps_find(bounds):
    rates = Rates(blocks=(1, 2, 4), low=bounds[0], high=bounds[1])
    found = {s.plan(ONE_LEVEL) for s in base_rate_schedules(rates, ONE_LEVEL)}
    steps = np.linspace(*bounds, 500)
    assert {PruningSchedule.from_base_rate(rate, rates.blocks).plan(ONE_LEVEL) for rate in steps} <= found
    assert len(base_rate_schedules(rates, ONE_LEVEL)) == len(found)


def _space(tmp_path, **space):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"] |= space
    return SearchSpace(ExperimentConfig.model_validate(values), tabulated.GEOMETRY)


def test_forms_of_selectors_multiply(tmp_path):
    count = count_networks(_space(tmp_path))
    forms = {"selector": {"choices": ["light", "multi_head"]}, "package": {"choices": ["none", "single"]}}
    chosen = count_networks(_space(tmp_path, pruning=forms))
    assert (count.num_forms, chosen.num_forms) == (1, 4)
    assert chosen.num_networks == 4 * count.num_schedules


def _falling(plan):
    """A staircase that falls: an odd number of tokens costs a third more, and a selector as much as a block."""
    mean_ms = sum(n * (4 / 3 if n % 2 else 1.0) for n in plan.block_tokens) / 30 + len(plan.selections)
    return Latency(mean_ms=mean_ms, low_ms=0.98 * mean_ms, high_ms=1.02 * mean_ms)


def test_the_cheapest_is_the_cheapest_of_all_not_that_of_fewest_tokens(tmp_path):
    space = _space(tmp_path)
    found = cheapest(space, _falling)
    rates = space.stage_rates
    plans = {
        space.network_of(space.default.model_copy(update={"pruning": space.default.pruning.model_copy(update={
            "schedule": PruningSchedule.from_keep_rates(row, rates.blocks)})}))
        for row in all_rates(stage_counts(rates, space.geometry)).tolist()
    }  # fmt: skip
    assert found.is_exact
    assert found.latency == min((_falling(plan) for plan in plans), key=lambda latency: latency.high_ms)
    fewest = _falling(space.network_of(space.fastest()[0]))
    assert found.latency.high_ms < fewest.high_ms
    between = LatencyBudget(max_ms=0.5 * (found.latency.high_ms + fewest.high_ms), source="here")
    check_feasible(space, _falling, between)


def test_many_at_once_and_one_by_one_find_the_same(tmp_path):
    config, table = small_experiment(tmp_path), small_table()
    space = SearchSpace(config, table.geometry)
    assert cheapest(space, price_from(table), table) == cheapest(space, price_from(table))


@pytest.mark.parametrize(
    ("share", "texts"),
    [
        (0.95, ["raise the budget to", r"lower search\.space\.stage_keep_rates\.low \(which reaches"]),
        (0.2, ["raise the budget to", "take another model, as one patch from the second block on takes"]),
    ],
)
def test_a_refusal_names_what_would_help_and_only_that(tmp_path, share, texts):
    space = _space(tmp_path)
    least_ms = cheapest(space, tabulated.price).latency.high_ms
    with pytest.raises(NothingFeasibleError) as refused:
        check_feasible(space, tabulated.price, LatencyBudget(max_ms=share * least_ms, source="here"))
    for text in texts:
        refused.match(text)
    assert ("take another model" in str(refused.value)) == (share < 0.5)
    named = float(str(refused.value).split("raise the budget to ")[1].split(" ms")[0])
    check_feasible(space, tabulated.price, LatencyBudget(max_ms=named, source="here"))


def test_every_budget_must_be_reachable(tmp_path):
    space = _space(tmp_path)
    least_ms = cheapest(space, tabulated.price).latency.high_ms
    budget = LatencyBudget(max_ms=2 * least_ms, source="here", smaller_ms=(0.5 * least_ms,))
    with pytest.raises(NothingFeasibleError, match=rf"within {0.5 * least_ms:.3f} ms \(a smaller budget beside here\)"):
        check_feasible(space, tabulated.price, budget)


def test_draws_are_within_the_space_and_the_same_each_time(tmp_path):
    training = {"freeze_epochs": {"type": "int", "low": 1, "high": 3, "log": True}, "mixup": {"choices": [0.0, 0.5]}}
    space = _space(tmp_path, training=training)
    drawn = draws(space, tabulated.price, num=200)
    assert drawn == draws(space, tabulated.price, num=200)
    assert {draw.config.training.freeze_epochs for draw in drawn} == {1, 2, 3}
    assert all(0.1 <= draw.config.losses.ratio <= 4.0 for draw in drawn)
    assert all(draw.latency == tabulated.price(draw.plan) for draw in drawn)
    budget = LatencyBudget(max_ms=6.0, source="here")
    share = feasible_share(drawn, budget)
    assert share.share == sum(budget.admits(draw.latency) for draw in drawn) / 200
    assert share.low < share.share < share.high


@given(num_hits=st.integers(0, 50), more=st.integers(0, 50))
def test_the_interval_of_a_share_holds_it_and_stays_a_share(num_hits, more):
    if not num_hits + more:
        return
    found = share_estimate(num_hits, num_hits + more)
    assert 0.0 <= found.low <= found.share + 1e-12
    assert found.share - 1e-12 <= found.high <= 1.0
    assert found.high > found.low


def test_the_number_of_networks_is_estimated_from_draws(tmp_path):
    space = _space(tmp_path, stage_keep_rates={"low": 0.7, "high": 0.9})
    plans = [draw.plan for draw in draws(space, tabulated.price, num=4000)]
    exact = count_networks(space).num_schedules
    assert len(set(plans)) <= estimated_networks(plans)
    assert 0.8 * exact <= estimated_networks(plans) <= 1.2 * exact
