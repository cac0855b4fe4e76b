import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.ehvi import expected_improvement, put, staircase

NUM_SAMPLES = 200_000
POINTS = st.lists(st.tuples(st.floats(0.1, 12.0), st.floats(0.05, 12.0)), max_size=8)


def _front(points, reference_ms=10.0, reference_shortfall=10.0):
    latencies_ms, shortfalls = np.array(points, dtype=float).reshape(-1, 2).T
    return staircase(latencies_ms, shortfalls, reference_ms=reference_ms, reference_shortfall=reference_shortfall)


def _hypervolume(points, reference_ms=10.0, reference_shortfall=10.0):
    """Area under the reference that points dominate, by cutting the plane at every coordinate."""
    cuts_ms = sorted({reference_ms, *(ms for ms, _ in points if ms < reference_ms)})
    heights = [max([reference_shortfall - s for ms, s in points if ms <= left] + [0.0]) for left in cuts_ms[:-1]]
    return sum(h * (right - left) for h, left, right in zip(heights, cuts_ms[:-1], cuts_ms[1:], strict=True))


@settings(max_examples=100, deadline=None)
@given(points=POINTS, latency_ms=st.floats(0.1, 12.0), shortfall=st.floats(0.05, 12.0))
def test_without_uncertainty_the_gain_is_the_difference_of_two_hypervolumes(points, latency_ms, shortfall):
    gain = expected_improvement(_front(points), np.array([latency_ms]), np.log([shortfall]), np.array([1e-7]))
    expected = _hypervolume([*points, (latency_ms, shortfall)]) - _hypervolume(points)
    assert gain[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("latency_ms", [0.5, 2.0, 4.5, 9.0])
def test_the_exact_gain_is_what_sampling_finds(latency_ms):
    points, mean, std = [(1.0, 6.0), (3.0, 4.0), (3.0, 5.0), (6.0, 1.5), (8.0, 2.0)], 1.0, 0.7
    draws = np.exp(mean + std * np.random.default_rng(0).standard_normal(NUM_SAMPLES))
    grid_ms = np.linspace(latency_ms, 10.0, 401)
    middle_ms = (grid_ms[1:] + grid_ms[:-1]) / 2
    best = [min([s for ms, s in points if ms <= t] + [10.0]) for t in middle_ms]
    gains = [np.maximum(0.0, level - draws).mean() * np.diff(grid_ms)[0] for level in best]
    exact = expected_improvement(_front(points), np.array([latency_ms]), np.array([mean]), np.array([std]))
    assert exact[0] == pytest.approx(sum(gains), rel=0.01)


@settings(max_examples=50, deadline=None)
@given(points=POINTS, latency_ms=st.floats(0.1, 9.0), mean=st.floats(-2.0, 2.0), std=st.floats(0.01, 2.0))
def test_faster_better_or_a_poorer_front_never_gains_less(points, latency_ms, mean, std):
    def gain(points, latency_ms, mean):
        return expected_improvement(_front(points), np.array([latency_ms]), np.array([mean]), np.array([std]))[0]

    base = gain(points, latency_ms, mean)
    assert base >= 0
    assert gain(points, latency_ms / 2, mean) >= base - 1e-9
    assert gain(points, latency_ms, mean - 0.5) >= base - 1e-9
    assert gain(points[:-1], latency_ms, mean) >= base - 1e-9


def test_nothing_is_gained_beyond_the_reference_latency():
    assert expected_improvement(_front([]), np.array([10.0, 11.0]), np.zeros(2), np.ones(2)).tolist() == [0.0, 0.0]


def test_a_point_of_unknown_latency_is_not_on_the_front():
    assert _front([(np.inf, 0.1), (2.0, 3.0)]).shortfalls.tolist() == [10.0, 3.0]


def test_a_put_is_what_quadrature_finds():
    shortfalls = np.linspace(1e-6, 3.0, 400_001)
    density = np.exp(-0.5 * ((np.log(shortfalls) - 0.4) / 0.6) ** 2) / (shortfalls * 0.6 * np.sqrt(2 * np.pi))
    expected = np.sum((3.0 - shortfalls) * density) * (shortfalls[1] - shortfalls[0])
    assert put(np.array(3.0), np.array(0.4), np.array(0.6)) == pytest.approx(expected, rel=1e-4)
