from collections.abc import Callable

import numpy as np
import pytest

from latency_tables.allowance import Allowance
from latency_tables.repeats import FEWEST_ROUNDS, FEWEST_TO_JUDGE, Goal, repeat
from latency_tables.rounds import Rounds

Work = Callable[[], object]


class NoisyClock:
    """Work says its name, how long it takes and how unsteady it is."""

    def __init__(self) -> None:
        self.random, self.calls = np.random.default_rng(0), []

    def seconds(self, work: Work, num_calls: int) -> float:
        name, seconds, noise = work()  # type: ignore[misc]
        self.calls.append(name)
        return float(seconds * num_calls * self.random.lognormal(0.0, noise))


def work(name: str, seconds: float, noise: float) -> Work:
    return lambda: (name, seconds, noise)


def rounds_of(**noises: float) -> tuple[Rounds, NoisyClock]:
    clock = NoisyClock()
    rounds = Rounds(work("ref", 0.01, 0.0), clock=clock)
    rounds.add({name: work(name, 0.01, noise) for name, noise in noises.items()})
    return rounds, clock


def goal(*, precision: float = 0.01, max_rounds: int = 500, until_s: float = 60.0) -> Goal:
    return Goal(precision=precision, max_rounds=max_rounds, until_s=until_s)


def test_steady_rows_are_left_alone_and_restless_ones_repeated_until_they_are_precise() -> None:
    rounds, _ = rounds_of(steady=0.001, restless=0.05)
    repeat(rounds, goal(), Allowance(60.0))
    assert FEWEST_TO_JUDGE <= rounds.num_samples("steady") < rounds.num_samples("restless")
    restless = rounds.estimate("restless")
    assert (restless.high - restless.low) / 2.0 <= 0.01 * restless.median


def test_the_order_stays_shuffled_among_those_that_are_left() -> None:
    rounds, clock = rounds_of(steady=0.0, a=0.3, b=0.3, c=0.3)
    repeat(rounds, goal(max_rounds=40), Allowance(60.0))
    left = [name for name in clock.calls if name in {"a", "b", "c"}][-3 * 20 :]
    orders = {tuple(left[i : i + 3]) for i in range(0, len(left), 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 1


def test_no_row_has_more_samples_than_asked_for() -> None:
    rounds, _ = rounds_of(a=0.5, b=0.5)
    repeat(rounds, goal(max_rounds=5), Allowance(60.0))
    assert [rounds.num_samples(name) for name in rounds.names] == [5, 5]


def test_a_spent_allowance_leaves_the_fewest_samples() -> None:
    rounds, _ = rounds_of(a=0.5, b=0.5)
    repeat(rounds, goal(until_s=1e-9), Allowance(1e-9))
    assert [rounds.num_samples(name) for name in rounds.names] == [FEWEST_ROUNDS, FEWEST_ROUNDS]


def test_what_is_added_on_the_way_is_measured_as_well() -> None:
    rounds, _ = rounds_of(a=0.001)
    waiting = [{"late": work("late", 0.02, 0.001)}]
    repeat(rounds, goal(), Allowance(60.0), more=lambda _: waiting.pop() if waiting else {})
    assert rounds.estimate("late").median == pytest.approx(2.0, rel=0.01)
    assert rounds.num_samples("late") >= FEWEST_TO_JUDGE


def test_every_sample_stands_between_two_runs_of_the_reference() -> None:
    """Also behind a look, in which the machine may have changed its speed."""
    rounds, clock = rounds_of(a=0.3)
    start = len(clock.calls)
    repeat(rounds, goal(max_rounds=20), Allowance(60.0))
    calls = clock.calls[start:]
    assert all(calls[i - 1] == calls[i + 1] == "ref" for i, name in enumerate(calls) if name == "a")


def test_looks_tell_how_far_it_is() -> None:
    told: list[tuple[float, int, int]] = []
    rounds, _ = rounds_of(steady=0.0, restless=0.02)
    repeat(rounds, goal(), Allowance(60.0), on_look=lambda *look: told.append(look))
    assert told[-1] == (1.0, 2, 2)
    assert any(done == 1 for _, done, _ in told)


def test_preparing_is_no_part_of_the_time_spent() -> None:
    allowance = Allowance(1.0)
    before = allowance.spent_s
    with allowance.preparing():
        sum(range(2_000_000))
    assert allowance.preparation_s > 0.0
    assert allowance.spent_s - before < allowance.preparation_s


def test_a_row_that_is_done_for_its_many_samples_has_not_reached_its_precision() -> None:
    rounds, _ = rounds_of(steady=0.0, restless=0.5)
    repeat(rounds, goal(max_rounds=12), Allowance(60.0))
    estimates = {name: rounds.estimate(name) for name in rounds.names}
    assert all(goal(max_rounds=12).is_met(estimate) for estimate in estimates.values())
    assert {name: goal(max_rounds=12).is_reached(estimate) for name, estimate in estimates.items()} == {
        "steady": True,
        "restless": False,
    }
