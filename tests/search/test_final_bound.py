import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from search.final_bound import MIN_CURVES, final_bound


def _curves(num_curves, num_steps, seed=0, noise=0.3):
    """Learning curves that bend towards ends which rise with latency."""
    rng = np.random.default_rng(seed)
    latencies = rng.uniform(5.0, 10.0, num_curves)
    ends = 70 + 2 * latencies + rng.normal(0, 1, num_curves)
    starts, speeds = rng.uniform(5, 20, num_curves), rng.uniform(0.3, 1.0, num_curves)
    steps = np.arange(1, num_steps + 1)
    smooth = ends[:, None] - starts[:, None] * np.exp(-speeds[:, None] * steps)
    return smooth + rng.normal(0, noise, smooth.shape), latencies


def _bound(curves, latencies, index, step, confidence=0.9):
    """Of one of the curves, from all others."""
    others = np.arange(len(curves)) != index
    finished = np.column_stack([curves[others, :step], curves[others, -1]])
    return final_bound(curves[index, :step], latencies[index], finished, latencies[others], confidence=confidence)


def test_the_first_step_is_bounded_by_the_textbooks_ridge_regression():
    curves, latencies = _curves(9, 6)
    features = np.column_stack([curves[:8, 0], latencies[:8]])
    centre, spread = features.mean(axis=0), features.std(axis=0)
    known, new = (features - centre) / spread, ([curves[8, 0], latencies[8]] - centre) / spread
    gains = curves[:8, -1] - curves[:8, 0]
    penalised = np.vstack([known, np.eye(2)])  # the ridge, as two more observations of no gain
    slopes = np.linalg.lstsq(penalised, np.concatenate([gains - gains.mean(), np.zeros(2)]), rcond=None)[0]
    hat = known @ np.linalg.inv(penalised.T @ penalised) @ known.T
    freedom = 8 - 1 - np.trace(hat)
    variance = np.sum((gains - gains.mean() - known @ slopes) ** 2) / freedom
    width = math.sqrt(variance * (1 + 1 / 8 + new @ np.linalg.inv(penalised.T @ penalised) @ new))
    expected = curves[8, 0] + gains.mean() + new @ slopes + stats.t.ppf(0.9, freedom) * width
    assert _bound(curves, latencies, 8, 1) == pytest.approx(expected)


@pytest.mark.parametrize("step", [1, 2, 4, 8])
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_as_many_curves_end_above_their_bound_as_its_confidence_says(step, confidence):
    above = [
        curves[0, -1] > _bound(curves, latencies, 0, step, confidence)
        for curves, latencies in (_curves(20, 12, seed) for seed in range(400))
    ]
    assert np.mean(above) == pytest.approx(1 - confidence, abs=0.045)


def test_the_bound_comes_nearer_as_the_end_does():
    curves, latencies = _curves(40, 12)
    widths = [np.mean([_bound(curves, latencies, i, step) - curves[i, -1] for i in range(40)]) for step in (1, 4, 11)]
    assert widths[0] > widths[1] > widths[2] > 0


def test_a_restless_curve_may_still_gain_more_where_restless_ones_did():
    rng = np.random.default_rng(0)
    restless = np.repeat([0.0, 1.0], 10)
    curves = 70 + restless[:, None] * rng.choice([-1.0, 1.0], (20, 6)) + rng.normal(0, 0.05, (20, 6))
    ends = 70 + 4 * restless + rng.normal(0, 0.1, 20)
    known = np.column_stack([curves, ends]), np.ones(20)
    still, jumping = np.full(6, 70.0), 70 + np.array([1.0, -1.0, 1.0, -1.0, 1.0, 0.0])
    bounds = [final_bound(curve, 1.0, *known, confidence=0.9) for curve in (still, jumping)]
    assert bounds[1] > bounds[0] + 2


def test_the_end_of_a_noisy_curve_is_bounded_with_more_doubt():
    curves, latencies = _curves(30, 6)
    known = np.column_stack([curves[:, :5], curves[:, -1]]), latencies
    jumps = np.array([1.0, -1.0, 1.0, -1.0, 0.0])
    width = [
        final_bound(curves[0, :5] + size * jumps, 7.0, *known, confidence=0.9)
        - final_bound(curves[0, :5] + size * jumps, 7.0, *known, confidence=0.5)
        for size in (0.0, 3.0, 9.0)
    ]
    assert width[0] < width[1] < width[2]


def test_curves_unlike_all_that_finished_are_bounded_with_more_doubt():
    curves, latencies = _curves(30, 6)
    known = np.column_stack([curves[:, :2], curves[:, -1]]), latencies
    low, high = np.array([[60.0, 62.0], [20.0, 22.0]])
    width = [
        final_bound(curve, 7.0, *known, confidence=0.9) - final_bound(curve, 7.0, *known, confidence=0.5)
        for curve in (low, high)
    ]
    assert width[1] > 1.5 * width[0]


def test_too_few_curves_bound_nothing_and_shapes_must_fit():
    curves, latencies = _curves(MIN_CURVES, 5)
    known = np.column_stack([curves[:, :2], curves[:, -1]])
    few = known[1:], latencies[1:]
    assert final_bound(curves[0, :2], 7.0, *few, confidence=0.9) == math.inf
    assert math.isfinite(final_bound(curves[0, :2], 7.0, known, latencies, confidence=0.9))
    with pytest.raises(ValueError, match=r"must have shape \(5, 4\).*but they have \(5, 3\)"):
        final_bound(curves[0, :3], 7.0, known, latencies, confidence=0.9)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(MIN_CURVES, 12),
    st.floats(0.01, 100.0),
    st.floats(-1000.0, 1000.0),
    st.integers(0, 10**6),
)
def test_the_unit_and_origin_of_quality_and_latency_do_not_matter(num_steps, num_curves, unit, origin, seed):
    curves, latencies = _curves(num_curves + 1, 6, seed)
    plain = _bound(curves, latencies, 0, num_steps)
    moved = _bound(origin + unit * curves, 3 * latencies, 0, num_steps)
    assert moved == pytest.approx(origin + unit * plain, rel=1e-6, abs=1e-6 * unit)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.data())
def test_any_finite_curves_have_a_finite_bound_above_the_prediction(num_steps, data):
    value = st.floats(-1e6, 1e6).map(lambda number: round(number, 3))
    row = st.lists(value, min_size=num_steps + 1, max_size=num_steps + 1)
    finished = np.array(data.draw(st.lists(row, min_size=MIN_CURVES, max_size=9)))
    curve = np.array(data.draw(row)[:-1])
    latencies = np.array(data.draw(st.lists(st.floats(0.1, 1e4), min_size=len(finished), max_size=len(finished))))
    bounds = [final_bound(curve, 5.0, finished, latencies, confidence=q) for q in (0.5, 0.9, 0.99)]
    assert all(math.isfinite(bound) for bound in bounds)
    assert bounds == sorted(bounds)
