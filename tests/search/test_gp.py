import numpy as np
import pytest
from scipy.optimize import approx_fprime

from search import gp
from search.gp import Inputs, distances, fit


def _inputs(num_points, seed=0, *, basis=None):
    rng = np.random.default_rng(seed)
    columns = np.column_stack([rng.random(num_points), rng.integers(0, 3, num_points), rng.random(num_points)])
    columns[rng.random(num_points) < 0.3, 2] = np.nan
    features = np.ones((num_points, 1)) if basis is None else basis
    return Inputs(columns=columns, is_category=np.array([False, True, False]), basis=features)


def _values(inputs):
    number, category, optional = inputs.columns.T
    return np.sin(5 * number) + 0.7 * (category == 1) - np.nan_to_num(optional)


def _naive_covariance(process, left, right):
    """Point by point, as the formulas are written."""
    *log_inverse_squares, log_signal, _ = process.log_params
    covariance = np.empty((len(left), len(right)))
    for i, a in enumerate(left.columns):
        for j, b in enumerate(right.columns):
            square = 0.0
            for weight, is_category, x, y in zip(np.exp(log_inverse_squares), left.is_category, a, b, strict=True):
                if np.isnan(x) and np.isnan(y):
                    continue
                square += weight * (float(x != y) if np.isnan(x) or np.isnan(y) or is_category else (x - y) ** 2)
            r = np.sqrt(5 * square)
            covariance[i, j] = np.exp(log_signal) * (1 + r + r**2 / 3) * np.exp(-r)
    return covariance + left.basis @ right.basis.T


def test_predictions_are_those_of_the_textbook():
    inputs, asked = _inputs(12), _inputs(5, seed=1)
    values = _values(inputs)
    process = fit(inputs, values)
    noisy = _naive_covariance(process, inputs, inputs) + np.exp(process.log_params[-1]) * np.eye(12)
    cross = _naive_covariance(process, asked, inputs)
    variance = np.diag(_naive_covariance(process, asked, asked) - cross @ np.linalg.solve(noisy, cross.T))
    mean, std = process.predict(asked)
    assert mean == pytest.approx(cross @ np.linalg.solve(noisy, values), rel=1e-4, abs=1e-5)
    assert std**2 == pytest.approx(variance, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
def test_the_gradient_of_the_posterior_density_is_that_of_differences(shift):
    inputs = _inputs(15)
    prior = gp._Prior.of(3)
    arguments = gp._squares(inputs, inputs), inputs.basis @ inputs.basis.T, _values(inputs), prior
    at = prior.centre + shift
    numeric = approx_fprime(at, lambda log_params: gp._loss(log_params, *arguments)[0], 1e-6)
    assert gp._loss(at, *arguments)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_a_smooth_function_of_mixed_parameters_is_learned():
    inputs, asked = _inputs(60), _inputs(200, seed=1)
    mean, std = fit(inputs, _values(inputs)).predict(asked)
    error = mean - _values(asked)
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.std(_values(asked))
    assert np.mean(np.abs(error) < 3 * std) > 0.9


def test_noise_is_learned_and_repeats_are_averaged():
    inputs = Inputs(
        columns=np.repeat([[0.2], [0.8]], 20, axis=0), is_category=np.array([False]), basis=np.ones((40, 1))
    )
    noise = np.random.default_rng(0).normal(0.0, 0.5, 40)
    process = fit(inputs, np.repeat([-1.0, 1.0], 20) + noise)
    mean, std = process.predict(inputs)
    assert np.exp(process.log_params[-1]) == pytest.approx(0.25, rel=0.5)
    assert mean[[0, 20]] == pytest.approx([-1.0 + noise[:20].mean(), 1.0 + noise[20:].mean()], abs=0.1)
    assert np.all(std < 0.2)


def test_believing_moves_no_mean_and_leaves_less_doubt():
    inputs, pending, asked = _inputs(20), _inputs(4, seed=2), _inputs(50, seed=3)
    process = fit(inputs, _values(inputs))
    believed = process.believing(pending)
    (mean, std), (mean_after, std_after) = process.predict(asked), believed.predict(asked)
    assert mean_after == pytest.approx(mean, abs=1e-5)
    assert np.all(std_after <= std + 1e-9)
    assert np.all(believed.predict(pending)[1] < process.predict(pending)[1])


def test_a_known_function_in_the_mean_is_found_with_its_weight():
    guess = np.linspace(-1.0, 1.0, 30)[:, None]
    values = -0.8 * guess[:, 0]
    inputs = _inputs(30, basis=guess)
    process = fit(inputs, values)
    asked = _inputs(30, seed=5, basis=3 * guess)
    assert process.predict(asked)[0] == pytest.approx(3 * values, abs=0.3)


def test_only_the_latest_points_choose_hyperparameters_but_all_of_them_predict(monkeypatch):
    monkeypatch.setattr(gp, "MAX_FIT_POINTS", 10)
    inputs = _inputs(30)
    values = _values(inputs)
    process = fit(inputs, values)
    assert process.log_params.tolist() == fit(inputs[slice(20, None)], values[20:]).log_params.tolist()
    assert len(process.inputs) == 30


def test_distances_lie_between_0_and_1():
    apart = distances(_inputs(30), _inputs(30))
    assert np.all((apart >= 0) & (apart <= 1))
    assert np.diag(apart) == pytest.approx(np.zeros(30))
