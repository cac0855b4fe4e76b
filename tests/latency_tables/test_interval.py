from dataclasses import replace

import numpy as np
import pytest

from latency_tables.interval import covering_error_percent
from latency_tables.table import EndToEndCheck


def check_of(errors: np.ndarray) -> EndToEndCheck:
    median, p90, largest = (float(bound) for bound in np.quantile(errors, [0.5, 0.9, 1.0]))
    return EndToEndCheck(
        scale=1.0,
        num_fitted=7,
        num_checked=len(errors),
        median_error_percent=median,
        p90_error_percent=p90,
        max_error_percent=largest,
    )


@pytest.mark.parametrize(("num_checked", "expected"), [(7, 7 / 8), (9, 0.9), (20, 0.9)])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_nine_in_ten_further_models_are_covered_or_as_many_as_can_be(
    num_checked: int, expected: float, draw: str
) -> None:
    random = np.random.default_rng(0)
    errors = np.abs(getattr(random, draw)(size=(1500, num_checked + 1)))
    covered = [further <= covering_error_percent(check_of(np.array(known))) for further, *known in errors]
    # Four standard deviations of a share of 1,500 below; above, what straight lines between few errors are too careful.
    assert expected - 0.03 <= np.mean(covered) <= 0.95


def test_a_single_error_is_all_there_is() -> None:
    assert covering_error_percent(check_of(np.array([2.5]))) == 2.5


def test_of_very_many_errors_it_is_the_p90() -> None:
    check = replace(check_of(np.arange(1, 100.0)), num_checked=100_000)
    assert covering_error_percent(check) == pytest.approx(check.p90_error_percent, abs=0.01)
