import pytest
import tabulated

from search.budget import LatencyBudget
from search.elastic_estimate import ElasticEstimate
from search.elastic_front import front_of
from spvit.schedule import PruningSchedule
from trainers.metrics import PricedSchedule

BLOCKS = (1, 2, 4)
BUDGET = LatencyBudget(max_ms=7.0, source="a test", smaller_ms=(5.0,))
LOWEST_MS = 3.0


def _plan(schedule):
    return schedule.plan(tabulated.GEOMETRY)


def _priced(rates, top1):
    return PricedSchedule(schedule=PruningSchedule.from_keep_rates(rates, BLOCKS), cost=0.0, top1=top1)


def _front(priced):
    return front_of(priced, latency=lambda s: tabulated.price(_plan(s)), budget=BUDGET, lowest_ms=LOWEST_MS)


def test_a_front_holds_what_the_budget_admits_at_the_searchs_own_latencies():
    slow, fast = _priced((1.0, 0.99, 0.98), 90.0), _priced((0.5, 0.3, 0.2), 70.0)
    front = _front([slow, fast])
    assert [each.schedule for each in front.priced] == [fast.schedule]
    assert front.priced[0].cost == tabulated.price(_plan(fast.schedule)).mean_ms


def test_mean_accuracy_is_that_of_the_best_schedule_within_each_budget():
    front = _front([_priced((0.5, 0.3, 0.2), 70.0), _priced((0.7, 0.5, 0.4), 80.0), _priced((0.6, 0.5, 0.4), 60.0)])
    points = [(each.cost, each.top1) for each in front.priced]
    num = 20_000
    budgets = [LOWEST_MS + (BUDGET.max_ms - LOWEST_MS) * (step + 0.5) / num for step in range(num)]
    naive = sum(max((top1 for ms, top1 in points if ms <= budget), default=0.0) for budget in budgets) / num
    assert front.mean_top1 == pytest.approx(naive, abs=0.02)


def test_accuracy_is_told_for_each_budget_that_a_schedule_keeps():
    front = _front([_priced((0.7, 0.5, 0.4), 80.0)])
    assert front.metrics().keys() == {"elastic/mean_top1", "elastic/top1_within_7_ms"}
    assert front.top1_within(5.0) is None


def test_an_estimate_interpolates_what_was_evaluated():
    def top1(rates):
        return 60.0 + 20.0 * rates[0] + 10.0 * rates[1] + 5.0 * rates[2]

    known = [(a, a * b, a * b * c) for a in (0.3, 0.5, 0.7, 0.9) for b in (0.5, 0.8) for c in (0.5, 0.8)]
    estimate = ElasticEstimate.of([_priced(rates, top1(rates)) for rates in known], _plan)
    for rates in [(0.4, 0.3, 0.2), (0.6, 0.4, 0.3), (0.8, 0.6, 0.5)]:
        plan = _plan(PruningSchedule.from_keep_rates(rates, BLOCKS))
        assert estimate(plan) == pytest.approx(top1(rates), abs=1.0)


def test_too_few_evaluations_give_no_estimate():
    assert ElasticEstimate.of([_priced((0.5, 0.3, 0.2), 70.0)], _plan) is None
