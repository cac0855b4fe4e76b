"""Warm starts: within the budget, within the space, and using the budget up."""

from search.warm_starts import USUAL, Gauge, Rates, WarmStartName, warm_starts
from spvit.schedule import PruningSchedule, TokenGeometry, TokenPlan

GEOMETRY = TokenGeometry(depth=12, num_patches=196)
RATES = Rates(blocks=(3, 6, 9), low=0.2, high=0.9)


def plan(schedule: PruningSchedule) -> TokenPlan:
    return schedule.plan(GEOMETRY)


def starts_of(fits, names=USUAL, rates=RATES, cost_ms=None):
    return list(warm_starts(names, rates, Gauge(fits=fits, plan=plan, cost_ms=cost_ms or tokens)))


def tokens(schedule: PruningSchedule) -> int:
    return sum(plan(schedule).block_tokens)


def test_use_the_budget_up() -> None:
    budget = 0.7 * 12 * 197
    starts = starts_of(lambda s: tokens(s) <= budget)
    assert [start.label for start in starts] == [
        "one stage, just within the budget",
        "geometric, just within the budget",
        "most tokens within the budget",
    ]
    for start in starts:
        assert 0.97 * budget < tokens(start.schedule) <= budget
        assert all(RATES.low <= rate <= RATES.high for rate in start.schedule.keep_rates)
    assert len(set(starts[0].schedule.keep_rates)) == 1
    geometric = starts[1].schedule.keep_rates
    assert abs(geometric[1] - geometric[0] ** 2) < 1e-9


def test_nothing_fits() -> None:
    assert starts_of(lambda _: False, names=tuple(WarmStartName)) == []


def test_the_same_each_time() -> None:
    def fits(schedule: PruningSchedule) -> bool:
        return tokens(schedule) <= 1500

    assert starts_of(fits) == starts_of(fits)


def test_finds_a_step_of_the_staircase_above_one_that_does_not_fit() -> None:
    def fits(schedule: PruningSchedule) -> bool:
        kept = {stage.num_kept(196) for stage in schedule.stages}
        return kept == {126} or max(kept) <= 100

    single = next(start for start in starts_of(fits) if start.label.startswith("one stage"))
    assert {stage.num_kept(196) for stage in single.schedule.stages} == {126}
