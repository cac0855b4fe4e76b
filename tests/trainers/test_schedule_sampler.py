"""Drawn schedules cover the whole range of costs evenly, the cheapest as well as the others."""

import numpy as np
import pytest
from scipy.stats import kstest

from spvit.errors import ConfigError
from spvit.macs import ModelWidths, count_macs
from spvit.schedule import PruningSchedule, TokenGeometry
from trainers.elastic_config import ElasticConfig
from trainers.schedule_sampler import ScheduleSampler, ScheduleSpace

GEOMETRY = TokenGeometry(depth=6, num_patches=49)
WIDTHS = ModelWidths(dim=64, num_heads=4, patch_size=4, in_chans=1, num_classes=10)
NUM_DRAWS = 400
SPACES = [
    ScheduleSpace(blocks=(1, 2, 4), num_selectors=(3, 3), keep_rates=(0.1, 1.0)),
    ScheduleSpace(blocks=(1, 2, 3, 4, 5), num_selectors=(1, 3), keep_rates=(0.1, 0.95)),
    ScheduleSpace(
        blocks=(1, 2, 3, 4, 5), num_selectors=(1, 3), keep_rates=(0.1, 0.95), block_sets=((1, 3, 5), (2, 4), (3,))
    ),
    ScheduleSpace(blocks=(1, 2, 4), num_selectors=(3, 3), keep_rates=(0.3, 0.95), is_geometric=True),
]


def price(schedule: PruningSchedule) -> float:
    return float(count_macs(schedule.plan(GEOMETRY), WIDTHS, num_patches=49))


def drawn(sampler: ScheduleSampler, num: int = NUM_DRAWS) -> list[PruningSchedule]:
    return [sampler.draw(np.random.default_rng((0, number))) for number in range(num)]


@pytest.mark.parametrize("space", SPACES)
def test_costs_are_uniform_over_the_range(space: ScheduleSpace):
    sampler = ScheduleSampler(space, price)
    costs = np.array([price(schedule) for schedule in drawn(sampler)])
    places = (costs - sampler.lowest) / (sampler.highest - sampler.lowest)
    assert kstest(places, "uniform").statistic < 1.63 / NUM_DRAWS**0.5  # 1 % level


def test_lowest_keep_rates_are_drawn_often():
    schedules = drawn(ScheduleSampler(SPACES[0], price))
    evenly = np.sort(np.random.default_rng(0).uniform(0.1, 1.0, (NUM_DRAWS, 3)))[:, ::-1]
    cheap = price(PruningSchedule.from_keep_rates([0.3, 0.25, 0.2], [1, 2, 4]))
    share = np.mean([price(schedule) <= cheap for schedule in schedules])
    without = np.mean([price(PruningSchedule.from_keep_rates(rates.tolist(), [1, 2, 4])) <= cheap for rates in evenly])
    assert share > 0.1
    assert share > 5 * without
    assert np.mean([schedule.keep_rates[-1] < 0.2 for schedule in schedules]) > 0.2


def test_positions_and_numbers_of_selectors_are_drawn_too():
    space = SPACES[1]
    schedules = drawn(ScheduleSampler(space, price))
    assert {len(schedule.blocks) for schedule in schedules} == {1, 2, 3}
    assert {block for schedule in schedules for block in schedule.blocks} == set(space.blocks)
    low, high = space.keep_rates
    assert all(low <= rate <= high for schedule in schedules for rate in schedule.keep_rates)


def test_only_sets_that_were_named_are_drawn():
    space = SPACES[2]
    schedules = drawn(ScheduleSampler(space, price))
    assert {schedule.blocks for schedule in schedules} == set(space.block_sets)


def test_one_rate_says_those_of_all_stages():
    sampler = ScheduleSampler(SPACES[3], price)
    for schedule in (*drawn(sampler), *sampler.spread(9, np.random.default_rng(0))):
        first = schedule.keep_rates[0]
        assert schedule.keep_rates == pytest.approx([first, first**2, first**3])
        assert 0.3 <= first <= 0.95
    assert sampler.lowest == price(PruningSchedule.from_keep_rates([0.3, 0.09, 0.027], [1, 2, 4]))


def test_a_draw_is_a_function_of_the_generator_alone():
    first, second = (ScheduleSampler(SPACES[1], price) for _ in range(2))
    first.draw(np.random.default_rng(9))
    assert drawn(first, 5) == drawn(second, 5)


def test_a_schedule_near_a_cost_is_within_a_token_of_it():
    sampler, rng = ScheduleSampler(SPACES[0], price), np.random.default_rng(0)
    token = price(PruningSchedule()) / 49
    for target in np.linspace(sampler.lowest, sampler.highest, 20):
        assert abs(price(sampler.draw_near(float(target), rng)) - target) <= token


def test_spread_goes_from_one_end_to_the_other():
    sampler = ScheduleSampler(SPACES[0], price)
    costs = [price(schedule) for schedule in sampler.spread(6, np.random.default_rng(0))]
    assert costs == sorted(costs)
    assert costs[0] == sampler.lowest
    assert costs[-1] == pytest.approx(sampler.highest, rel=0.03)


def test_nothing_dearer_than_the_cap_is_drawn():
    cap = 0.6 * price(PruningSchedule())
    sampler = ScheduleSampler(SPACES[0], price, max_price=cap)
    assert max(map(price, drawn(sampler, 100))) <= cap * 1.03
    with pytest.raises(ConfigError, match=r"nothing to draw.*Lower elastic\.lowest_keep_rate"):
        ScheduleSampler(SPACES[0], price, max_price=sampler.lowest)


def test_space_of_a_trial_is_where_its_schedule_has_selectors():
    home = PruningSchedule.from_keep_rates([0.9, 0.8, 0.7], [1, 2, 4])
    space = ScheduleSpace.from_config(ElasticConfig(min_selectors=2), home, GEOMETRY)
    assert (space.blocks, space.num_selectors, space.keep_rates) == ((1, 2, 4), (2, 3), (0.1, 1.0))
    idle = PruningSchedule.from_keep_rates([0.9, 0.9], [1, 2])
    with pytest.raises(ConfigError, match=r"every stage drops a token.*has 1 such"):
        ScheduleSpace.from_config(ElasticConfig(), idle, GEOMETRY)
    with pytest.raises(ConfigError, match=r"block_sets may name blocks \[1, 2, 4\].*but got \[3\]"):
        ScheduleSpace.from_config(ElasticConfig(block_sets=((1, 2), (3,))), home, GEOMETRY)
    with pytest.raises(ConfigError, match=r"max_selectors = 4.*at most the number of stages, which is 3"):
        ScheduleSpace.from_config(ElasticConfig(max_selectors=4), home, GEOMETRY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest_keep_rate": 0.6, "highest_keep_rate": 0.5}, r"lowest_keep_rate \(0\.6\) must be below"),
        ({"min_selectors": 3, "max_selectors": 2}, r"min_selectors \(3\) must not exceed"),
        ({"sandwich_share": 1.5}, "less than or equal to 1"),
        ({"rates": 1}, "Extra inputs"),
    ],
)
def test_mistakes_in_the_configuration_are_named(changes: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        ElasticConfig.model_validate(changes)
