import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.parameters import ParameterSpace, decode, encode

DISTRIBUTIONS = [
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(1e-5, 1.0, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
    FloatDistribution(2.0, 2.0),
    IntDistribution(-3, 9),
    IntDistribution(1, 1024, log=True),
    IntDistribution(0, 10, step=5),
    IntDistribution(4, 4),
]
KIND = CategoricalDistribution(["a", "b"])
ONE = FloatDistribution(0.0, 1.0)


def _trial(state=TrialState.COMPLETE, **params):
    distributions = {name: KIND if name == "kind" else ONE for name in params}
    values = [1.0, 1.0] if state is TrialState.COMPLETE else None
    return create_trial(params=params, distributions=distributions, values=values, state=state)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@given(share=st.floats(0.0, 1.0))
def test_values_are_contained_and_survive_the_round_trip(distribution, share):
    value = decode(distribution, share)
    assert distribution._contains(distribution.to_internal_repr(value))
    assert decode(distribution, encode(distribution, value)) == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_order_is_kept(distribution):
    values = [decode(distribution, share) for share in np.linspace(0, 1, 50)]
    assert values == sorted(values)


def test_steps_and_choices_are_drawn_evenly():
    rng = np.random.default_rng(0)
    for distribution, num in ((IntDistribution(0, 3), 4), (CategoricalDistribution(list("abc")), 3)):
        _, counts = np.unique([decode(distribution, share) for share in rng.random(6000)], return_counts=True)
        assert counts == pytest.approx(np.full(num, 6000 / num), rel=0.1)


def test_branches_are_told_apart_by_what_they_have_in_common():
    space = ParameterSpace.of_trials([_trial(kind="a", x=0.5), _trial(kind="b", y=0.5)])
    drawn = space.draw(np.random.default_rng(0), 100)
    assert drawn
    assert all(params.keys() == {"kind", "x" if params["kind"] == "a" else "y"} for params in drawn)
    near = space.perturbed(np.random.default_rng(0), {"kind": "a", "x": 0.5}, 50)
    assert near
    assert all(params["kind"] == "a" for params in near)


def test_an_option_that_is_off_is_a_branch_of_its_own():
    space = ParameterSpace.of_trials([_trial(kind="a"), _trial(kind="b", y=0.5)])
    assert {frozenset(branch.distributions) for branch in space.branches} == {
        frozenset({"kind"}),
        frozenset({"kind", "y"}),
    }


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING])
def test_a_trial_that_stopped_asking_halfway_is_no_branch(state):
    space = ParameterSpace.of_trials([_trial(x=0.5, y=0.5), _trial(state=state, x=0.5)])
    assert [branch.distributions.keys() for branch in space.branches] == [{"x", "y"}]


def test_running_trials_show_the_space_until_one_has_ended():
    space = ParameterSpace.of_trials([_trial(state=TrialState.RUNNING, x=0.5, y=0.5)])
    assert space.distributions.keys() == {"x", "y"}


def test_neighbours_differ_in_one_or_two_parameters():
    space = ParameterSpace.of_trials([_trial(kind="a", x=0.5, y=0.5, z=0.5)])
    start = {"kind": "a", "x": 0.5, "y": 0.5, "z": 0.5}
    for params in space.perturbed(np.random.default_rng(0), start, 50):
        assert 1 <= sum(params[name] != start[name] for name in start) <= 2


def test_unused_parameters_and_foreign_categories_are_nan():
    space = ParameterSpace.of_trials([_trial(kind="a"), _trial(kind="b", y=0.5)])
    rows = space.encode([{"kind": "b", "y": 0.5}, {"kind": "a"}, {"kind": "c"}])
    columns = dict(zip(space.distributions, rows.T, strict=True))
    assert columns["kind"] == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    assert columns["y"] == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)


def test_a_space_without_parameters_is_refused():
    with pytest.raises(ValueError, match="at least one branch"):
        ParameterSpace([])
