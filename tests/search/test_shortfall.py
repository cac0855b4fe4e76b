import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.shortfall import ShortfallScale

QUALITIES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40).map(np.array)


@given(qualities=QUALITIES)
def test_order_turns_and_the_way_back_is_exact(qualities):
    scale = ShortfallScale.of(qualities)
    modelled = scale.standardised(qualities)
    assert np.all(np.isfinite(modelled))
    assert np.all(np.diff(modelled[np.argsort(qualities, kind="stable")]) <= 1e-9)
    back = scale.ceiling - np.exp(scale.log_shortfalls(modelled))
    assert back == pytest.approx(qualities, rel=1e-6, abs=1e-6 * max(1.0, np.ptp(qualities)))


def test_a_divergence_comes_close_to_the_others():
    qualities = np.array([94.0, 93.5, 92.0, 91.0, 90.0, 89.0, 93.0, 92.5, 91.5, 90.5, 10.0])
    modelled = ShortfallScale.of(qualities).standardised(qualities)
    plain = (qualities - qualities.mean()) / qualities.std()
    assert np.ptp(modelled[:-1]) > 2 * np.ptp(plain[:-1])


def test_a_guess_above_the_ceiling_counts_as_just_below_it():
    scale = ShortfallScale.of(np.array([50.0, 60.0, 70.0]))
    high, higher = scale.standardised(np.array([scale.ceiling + 1.0, scale.ceiling + 100.0]))
    assert high == higher
    assert high < scale.standardised(np.array([70.0]))[0]


def test_scaling_quality_changes_nothing_that_is_modelled():
    qualities = np.random.default_rng(0).normal(size=30)
    percent = ShortfallScale.of(100 * qualities + 7)
    assert percent.standardised(100 * qualities + 7) == pytest.approx(
        ShortfallScale.of(qualities).standardised(qualities)
    )
