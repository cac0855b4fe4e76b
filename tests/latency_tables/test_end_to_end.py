import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_tables.end_to_end import LEAST_SHARE, check_predictions, random_schedules
from latency_tables.interval import covering_error_percent
from spvit.schedule import Level, PackageMode, TokenGeometry


@given(
    depth=st.integers(2, 24),
    num_patches=st.integers(10, 600),
    mode=st.sampled_from(PackageMode),
    seed=st.integers(0, 99),
)
def test_random_models_are_all_different_and_all_pruned(
    depth: int, num_patches: int, mode: PackageMode, seed: int
) -> None:
    geometry = TokenGeometry(depth=depth, num_patches=num_patches)
    schedules = random_schedules(geometry, mode, num_schedules=6, seed=seed)
    plans = [schedule.plan(geometry, mode) for schedule in schedules]
    assert len(set(plans)) == 6
    assert all(plan.selections for plan in plans)


def test_random_models_of_several_levels_reach_each_of_them() -> None:
    levels = [Level(num_blocks=blocks, num_patches=patches) for blocks, patches in ((2, 729), (6, 196), (4, 49))]
    geometry = TokenGeometry.of_levels(levels)
    plans = [schedule.plan(geometry) for schedule in random_schedules(geometry, PackageMode.SINGLE, num_schedules=14)]
    assert len(set(plans)) == 14
    assert {geometry.level_of(selection.block) for plan in plans for selection in plan.selections} == {0, 1, 2}


def test_a_tiny_model_yields_what_it_can() -> None:
    geometry = TokenGeometry(depth=1, num_patches=3)
    assert 1 <= len(random_schedules(geometry, PackageMode.NONE, num_schedules=9)) <= 2


def test_a_common_factor_is_no_error() -> None:
    predicted = [10.0, 8.0, 7.0, 6.0, 5.0]
    check = check_predictions(predicted, [1.05 * ms for ms in predicted])
    assert check.scale == pytest.approx(1.05)
    assert check.max_error_percent == pytest.approx(0.0, abs=1e-9)
    assert (check.num_fitted, check.num_checked) == (5, 5)


def test_no_model_takes_part_in_the_scale_that_it_is_judged_by() -> None:
    check = check_predictions([1.0, 1.0, 1.0], [1.0, 1.25, 2.0])
    errors = [abs(1.625 / 1.0 - 1.0), abs(1.5 / 1.25 - 1.0), abs(1.125 / 2.0 - 1.0)]
    assert check.scale == 1.25
    assert check.median_error_percent == pytest.approx(100.0 * sorted(errors)[1])
    assert check.max_error_percent == pytest.approx(100.0 * max(errors))
    assert check.p90_error_percent == pytest.approx(100.0 * np.quantile(errors, 0.9))


@pytest.mark.parametrize(("predicted", "measured"), [([1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_one_model_cannot_be_fitted_and_checked(predicted: list[float], measured: list[float]) -> None:
    with pytest.raises(ValueError, match="At least two models are needed"):
        check_predictions(predicted, measured)


@pytest.mark.parametrize("noise_percent", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_noise_of_the_models_times_does_not_widen_what_covers_further_ones(noise_percent: float) -> None:
    draw, num_models = np.random.default_rng(7), 14
    covered, widths = [], []
    for _ in range(400):
        true, further = draw.normal(0.0, 1.0, num_models), draw.normal(0.0, 1.0, 100)
        measured = 1.0 + (true + draw.normal(0.0, noise_percent, num_models)) / 100.0
        check = check_predictions([1.0] * num_models, list(measured), noise_percent=[noise_percent] * num_models)
        width = covering_error_percent(check)
        covered.append(np.mean(np.abs(100.0 * ((1.0 + further / 100.0) / check.scale - 1.0)) < width))
        widths.append(width)
    assert 0.85 <= np.mean(covered) <= 0.97
    assert np.mean(widths) < 1.2 * np.hypot(1.0, LEAST_SHARE * noise_percent) * 1.9


def test_errors_that_are_all_noise_are_not_taken_for_none() -> None:
    with_noise = check_predictions([1.0, 1.0, 1.0], [1.0, 1.25, 2.0], noise_percent=[1000.0] * 3)
    without = check_predictions([1.0, 1.0, 1.0], [1.0, 1.25, 2.0])
    assert with_noise.scale == without.scale
    assert with_noise.max_error_percent == pytest.approx(LEAST_SHARE * without.max_error_percent)
