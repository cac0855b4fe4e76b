import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.noise import Difference, paired_difference, top1_interval, unpaired_difference

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def columns(pairs):
    first, second = zip(*pairs, strict=True)
    return np.array(first), np.array(second)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_an_interval_holds_its_top1_and_solves_the_score_equation(counts):
    num_images, right = counts
    share = right / num_images
    low, high = (bound / 100 for bound in top1_interval(100 * share, num_images))
    assert 0 <= low <= share <= high <= 1
    for bound in {low, high} - {0.0, 1.0, share}:
        # Wilson's bounds are where the observed share lies 1.645 standard deviations of *that* share away.
        assert abs(share - bound) == pytest.approx(1.6448536 * math.sqrt(bound * (1 - bound) / num_images), rel=1e-6)


@given(ANSWERS)
def test_a_paired_difference_turns_round_with_its_models(pairs):
    first, second = columns(pairs)
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.points == pytest.approx(100 * (first.mean() - second.mean()))
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 100_000))
def test_an_unpaired_difference_turns_round_and_equal_top1s_are_noise(first, second, num_images):
    there = unpaired_difference(first, second, num_images)
    back = unpaired_difference(second, first, num_images)
    assert there.points == first - second
    assert (there.low, there.high) == (pytest.approx(-back.high, abs=1e-9), pytest.approx(-back.low, abs=1e-9))
    assert unpaired_difference(first, first, num_images).is_noise


def test_intervals_cover_nine_in_ten_of_what_chance_gives():
    rng = np.random.default_rng(0)
    num, shares = 400, np.array([0.80, 0.06, 0.04, 0.10])  # both right, only the first, only the second, none
    paired, unpaired = 0, 0
    for _ in range(600):
        drawn = rng.choice(4, size=num, p=shares)
        first, second = (drawn == 0) | (drawn == 1), (drawn == 0) | (drawn == 2)
        found = paired_difference(first, second)
        rough = unpaired_difference(100 * first.mean(), 100 * second.mean(), num)
        paired += found.low <= 2.0 <= found.high
        unpaired += rough.low <= 2.0 <= rough.high
        assert found.high - found.low < rough.high - rough.low
    assert 0.87 <= paired / 600 <= 0.94
    assert unpaired / 600 >= 0.97  # too wide for models that mostly agree, as its docstring says


def test_models_that_agree_on_every_image_are_equal():
    answers = np.array([True, False, True])
    assert paired_difference(answers, answers).is_noise


def test_what_is_no_share_is_refused():
    with pytest.raises(ValueError, match=r"one image or more.*50\.0 % on 0"):
        top1_interval(50.0, 0)
    with pytest.raises(ValueError, match=r"0 to 100 %.*101"):
        top1_interval(101.0, 5)
    with pytest.raises(ValueError, match=r"same images.*\(2,\), \(3,\)"):
        paired_difference(np.ones(2, bool), np.ones(3, bool))
    with pytest.raises(ValueError, match="low <= points <= high"):
        Difference(points=1.0, low=2.0, high=3.0, num_images=1, is_paired=False)


def test_a_difference_reads_well():
    assert Difference(points=0.4, low=-0.5, high=1.3, num_images=2000, is_paired=True).to_text() == (
        "+0.40 points (-0.50 to +1.30 on 2000 images)"
    )
