from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.rank_agreement import RankAgreement, kendall_tau

rankings = st.integers(2, 12).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 5), min_size=size, max_size=size)] * 2)
)


@given(rankings)
def test_tau_is_the_share_of_pairs_that_are_ranked_alike_beyond_those_that_are_not(rankings):
    left, right = rankings
    pairs = [(left[a] - left[b], right[a] - right[b]) for a, b in combinations(range(len(left)), 2)]
    alike, unlike = sum(mine * other > 0 for mine, other in pairs), sum(mine * other < 0 for mine, other in pairs)
    num_left, num_right = sum(mine != 0 for mine, _ in pairs), sum(other != 0 for _, other in pairs)
    found = kendall_tau(left, right)
    if num_left and num_right:
        assert found == pytest.approx((alike - unlike) / sqrt(num_left * num_right))
    else:
        assert found is None


def test_rankings_of_different_things_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1 values"):
        kendall_tau([1, 2], [1])


@pytest.mark.parametrize(
    ("tau", "num_compared", "is_trusted"), [(None, 0, True), (-1.0, 4, True), (0.4, 5, False), (0.5, 5, True)]
)
def test_estimates_are_doubted_once_enough_results_contradict_them(tau, num_compared, is_trusted):
    agreement = RankAgreement(num_compared=num_compared, tau=tau)
    assert agreement.is_trusted(min_tau=0.5, min_compared=5) is is_trusted
