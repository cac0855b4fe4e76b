"""A small Gaussian process for mixed and conditional parameters: Matern-5/2, a length scale for each parameter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

SQRT5 = 5.0**0.5
JITTER = 1e-8
MAX_FIT_POINTS = 200
"""Hyperparameters are fitted to at most so many of the latest points: a fit costs their number cubed."""

LOG_LENGTH_MEAN, LOG_LENGTH_STD = 0.3, 1.0
LOG_SIGNAL_MEAN, LOG_SIGNAL_STD = 0.5, 1.0
LOG_NOISE_MEAN, LOG_NOISE_STD = -4.0, 1.5
LOG_BOUND = 9.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Points that a process is asked about.

    Attributes:
        columns: (num_points, num_columns); a number in [0, 1], a category's index, or NaN where a parameter is unused.
        is_category: (num_columns,); whether a column's values are only equal or different.
        basis: (num_points, num_features); known functions that enter the mean with unknown weights of variance 1.
    """

    columns: Array
    is_category: NDArray[np.bool_]
    basis: Array

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, rows: slice) -> Inputs:
        return Inputs(columns=self.columns[rows], is_category=self.is_category, basis=self.basis[rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianProcess:
    """A process conditioned on noisy values; see `fit`."""

    inputs: Inputs
    log_params: Array
    factor: Array
    weights: Array

    @property
    def noise_std(self) -> float:
        """Standard deviation of an observed value around the function."""
        return float(np.exp(self.log_params[-1] / 2.0))

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the function without noise, each of shape (num_points,)."""
        cross = _kernel(self.log_params, _squares(inputs, self.inputs), inputs.basis @ self.inputs.basis.T)
        explained = solve_triangular(self.factor, cross.T, lower=True)
        prior = np.exp(self.log_params[-2]) + np.sum(inputs.basis**2, axis=1)
        variance = np.maximum(prior - np.sum(explained**2, axis=0), 1e-12)
        return cross @ self.weights, np.sqrt(variance)

    def mean_of(self, columns: Array, basis: Array) -> float:
        """The mean at one point of numbers alone: what `predict` says of it, many times as fast.

        Args:
            columns: (num_columns,), none a category or NaN.
            basis: (num_features,).
        """
        square = (self.inputs.columns - columns) ** 2 @ np.exp(self.log_params[:-2])
        distance = SQRT5 * np.sqrt(square)
        kernel = np.exp(self.log_params[-2] - distance) * (1.0 + distance + distance**2 / 3.0)
        return float(kernel @ self.weights + (self.inputs.basis @ basis) @ self.weights)

    def believing(self, inputs: Inputs) -> GaussianProcess:
        """The process once `inputs` have been observed at what it predicts: same mean, less variance."""
        both = Inputs(
            columns=np.vstack([self.inputs.columns, inputs.columns]),
            is_category=self.inputs.is_category,
            basis=np.vstack([self.inputs.basis, inputs.basis]),
        )
        believed, _ = self.predict(inputs)
        own = self.factor @ (self.factor.T @ self.weights)
        return _condition(both, np.concatenate([own, believed]), self.log_params)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prior:
    """Normal beliefs of log(1/length^2) for every column, the log signal variance and the log noise variance."""

    centre: Array
    scale: Array

    @classmethod
    def of(cls, num_columns: int) -> _Prior:
        """Length scales grow with the square root of the number of columns, so that distances keep their meaning.

        Source: Hvarfner et al. (2024), "Vanilla Bayesian optimization performs great in high dimensions".
        """
        inverse = -2.0 * (LOG_LENGTH_MEAN + 0.5 * np.log(max(num_columns, 1)))
        centre = np.concatenate([np.full(num_columns, inverse), [LOG_SIGNAL_MEAN, LOG_NOISE_MEAN]])
        scale = np.concatenate([np.full(num_columns, 2.0 * LOG_LENGTH_STD), [LOG_SIGNAL_STD, LOG_NOISE_STD]])
        return cls(centre=centre, scale=scale)


def fit(inputs: Inputs, values: Array, *, num_restarts: int = 2) -> GaussianProcess:
    """The process with the most probable length scales, signal and noise, found by L-BFGS.

    Args:
        inputs: where values were observed.
        values: (num_points,); about zero mean and unit variance.
        num_restarts: starting points: the prior's mode, then shorter length scales.
    """
    recent = slice(max(0, len(inputs) - MAX_FIT_POINTS), None)
    shown = inputs[recent]
    squares, linear = _squares(shown, shown), shown.basis @ shown.basis.T
    prior = _Prior.of(len(inputs.is_category))
    best: tuple[float, Array] | None = None
    for restart in range(num_restarts):
        start = prior.centre.copy()
        start[:-2] += 1.5 * restart
        found = minimize(
            _loss,
            start,
            args=(squares, linear, values[recent], prior),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-LOG_BOUND, LOG_BOUND)] * len(start),
            options={"maxiter": 60},
        )
        if best is None or found.fun < best[0]:
            best = float(found.fun), found.x
    return _condition(inputs, values, best[1] if best is not None else prior.centre)


def distances(left: Inputs, right: Inputs) -> Array:
    """Root mean square over columns of what `_squares` measures, (num_left, num_right), in [0, 1]."""
    apart: Array = np.sqrt(np.mean(_squares(left, right), axis=0))
    return apart


def _loss(log_params: Array, squares: Array, linear: Array, values: Array, prior: _Prior) -> tuple[float, Array]:
    """Minus the log posterior density of the hyperparameters, and its gradient."""
    matern, slope = _matern(log_params, squares)
    num_points = len(values)
    noise = np.exp(log_params[-1])
    try:
        factor = cholesky(matern + linear + (noise + JITTER) * np.eye(num_points), lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e25, np.zeros_like(log_params)
    inverse = cho_solve((factor, True), np.eye(num_points), check_finite=False)
    weights = inverse @ values
    offset = (log_params - prior.centre) / prior.scale
    loss = 0.5 * values @ weights + np.sum(np.log(np.diag(factor))) + 0.5 * np.sum(offset**2)
    pull = inverse - np.outer(weights, weights)
    by_column = np.exp(log_params[:-2]) * (squares.reshape(len(squares), -1) @ (pull * slope).ravel())
    gradient = 0.5 * np.concatenate([by_column, [np.sum(pull * matern), noise * np.trace(pull)]]) + offset / prior.scale
    return float(loss), gradient


def _condition(inputs: Inputs, values: Array, log_params: Array) -> GaussianProcess:
    kernel = _kernel(log_params, _squares(inputs, inputs), inputs.basis @ inputs.basis.T)
    factor = cholesky(kernel + (np.exp(log_params[-1]) + JITTER) * np.eye(len(inputs)), lower=True)
    weights = cho_solve((factor, True), values)
    return GaussianProcess(inputs=inputs, log_params=log_params, factor=factor, weights=weights)


def _kernel(log_params: Array, squares: Array, linear: Array) -> Array:
    return _matern(log_params, squares)[0] + linear


def _matern(log_params: Array, squares: Array) -> tuple[Array, Array]:
    """Matern-5/2 covariances and their slope in the squared distance."""
    square = np.tensordot(np.exp(log_params[:-2]), squares, axes=1)
    distance = SQRT5 * np.sqrt(square)
    decayed = np.exp(log_params[-2] - distance)
    return decayed * (1.0 + distance + distance**2 / 3.0), decayed * (1.0 + distance) * (-5.0 / 6.0)


def _squares(left: Inputs, right: Inputs) -> Array:
    """Squared distance of every pair in every column, (num_columns, num_left, num_right).

    A used and an unused parameter, and two different categories, are at distance 1.
    """
    squares = np.empty((left.columns.shape[1], len(left), len(right)))
    for column, is_category in enumerate(left.is_category):
        ours, theirs = left.columns[:, column, None], right.columns[None, :, column]
        apart = ours != theirs if is_category else (ours - theirs) ** 2
        lone = np.isnan(ours) != np.isnan(theirs)
        both_unused = np.isnan(ours) & np.isnan(theirs)
        squares[column] = np.where(both_unused, 0.0, np.where(lone, 1.0, apart))
    return squares
