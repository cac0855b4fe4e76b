import numpy as np
import pytest

from latency_tables.ratio import BETWEEN_RUNS, RatioEstimate, estimate_ratio, repeatable, sandwiched, spread_percent


def simulated_ratios(true_ratio: float, num_samples: int, seed: int) -> list[float]:
    """Sandwiched samples from a machine whose speed drifts by a factor of two and jitters by 5 %."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(0.0, 0.05, 2 * num_samples + 1))
    speed = np.exp(np.clip(walk - walk.mean(), -0.7, 0.7))
    times = speed * random.lognormal(0.0, 0.05, speed.size)
    times[1::2] *= true_ratio
    return [sandwiched(times[i], times[i - 1], times[i + 1]) for i in range(1, times.size, 2)]


def test_a_sample_is_the_time_over_the_mean_of_its_neighbours() -> None:
    assert sandwiched(3.0, 1.0, 2.0) == 2.0


def test_drift_of_the_machine_cancels() -> None:
    estimate = estimate_ratio(simulated_ratios(0.6, 400, seed=1))
    assert estimate.median == pytest.approx(0.6, rel=0.02)


def test_the_interval_of_equal_work_holds_one_about_nine_times_in_ten() -> None:
    estimates = [estimate_ratio(simulated_ratios(1.0, 25, seed=seed)) for seed in range(200)]
    covered = sum(estimate.low <= 1.0 <= estimate.high for estimate in estimates)
    assert 165 <= covered <= 197


def test_four_times_the_samples_halve_the_interval() -> None:
    def width(num_samples: int) -> float:
        estimates = [estimate_ratio(simulated_ratios(1.0, num_samples, seed=seed)) for seed in range(50)]
        return float(np.mean([estimate.high - estimate.low for estimate in estimates]))

    assert width(20) / width(80) == pytest.approx(2.0, rel=0.25)


def test_the_same_samples_give_the_same_interval() -> None:
    samples = simulated_ratios(1.0, 10, seed=3)
    assert estimate_ratio(samples) == estimate_ratio(list(samples))


def test_what_differs_from_run_to_run_is_within_the_intervals_of_both() -> None:
    """Runs whose true ratios differ by the deviation between runs: 90 % intervals overlap in about 98 of 100 pairs."""
    random = np.random.default_rng(5)

    def run(seed: int) -> RatioEstimate:
        return repeatable(estimate_ratio(simulated_ratios(0.3 + random.normal(0.0, BETWEEN_RUNS), 25, seed=seed)))

    pairs = [(run(seed), run(seed + 1000)) for seed in range(150)]
    overlapping = sum(first.low <= second.high and second.low <= first.high for first, second in pairs)
    assert 139 <= overlapping <= 150


def test_an_interval_is_never_narrower_for_holding_in_other_runs() -> None:
    tight = RatioEstimate(median=0.5, low=0.499, high=0.5, num_samples=24)
    wide = repeatable(tight)
    assert (wide.low, wide.high) == pytest.approx((0.5 - 0.0165, 0.5 + 0.0165), abs=1e-4)
    tiny = repeatable(RatioEstimate(median=0.001, low=0.001, high=0.001, num_samples=24))
    assert 0.0 < tiny.low < tiny.median < tiny.high


def test_one_sample_is_its_own_interval() -> None:
    estimate = estimate_ratio([1.5])
    assert (estimate.low, estimate.median, estimate.high, estimate.num_samples) == (1.5, 1.5, 1.5, 1)


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [1.0, 0.0], [-1.0]])
def test_samples_that_are_no_times_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="finite samples above 0"):
        estimate_ratio(samples)


def test_spread_is_relative_to_the_median() -> None:
    assert spread_percent([2.0, 2.0, 2.0]) == 0.0
    assert spread_percent(list(np.linspace(1.0, 3.0, 101))) == pytest.approx(90.0)
