import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from search.rank_agreement import RankAgreement, kendall_tau

rankings = st.integers(2, 12).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 5), min_size=size, max_size=size)] * 2)
)


@given(rankings)
def test_tau_is_scipys(rankings):
    left, right = rankings
    found = kendall_tau(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(kendalltau(left, right).statistic)


def test_rankings_of_different_things_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1 values"):
        kendall_tau([1, 2], [1])


@pytest.mark.parametrize(
    ("tau", "num_compared", "is_trusted"), [(None, 0, True), (-1.0, 4, True), (0.4, 5, False), (0.5, 5, True)]
)
def test_estimates_are_doubted_once_enough_results_contradict_them(tau, num_compared, is_trusted):
    agreement = RankAgreement(num_compared=num_compared, tau=tau)
    assert agreement.is_trusted(min_tau=0.5, min_compared=5) is is_trusted
