import math

import numpy as np
import pytest
from optuna.distributions import IntDistribution

from search.candidates import CandidateSource
from search.devices import Devices
from search.parameters import Branch, ParameterSpace
from spvit.errors import NothingFeasibleError

SPACE = ParameterSpace([Branch(distributions={"a": IntDistribution(0, 9), "b": IntDistribution(0, 9)}, excluded={})])


def latency_of(params):
    return 1.0 + params["a"]


def _pool(num=300, latency_ms=latency_of, max_latency_ms=None, **kwargs):
    source = CandidateSource(SPACE, devices=Devices.of(latency_ms, max_latency_ms), **kwargs)
    return source.pool(np.random.default_rng(0), num)


def test_every_candidate_qualifies_and_comes_once_with_its_latency():
    pool = _pool(max_latency_ms=5.0, accepts=lambda params: params["b"] != 3, known=[{"a": 0, "b": 0}])
    assert pool.latencies_ms.tolist() == [[latency_of(params)] for params in pool.params]
    drawn = [(params["a"], params["b"]) for params in pool.params]
    assert len(set(drawn)) == len(drawn)
    assert all(a <= 4 and b != 3 and (a, b) != (0, 0) for a, b in drawn)


def test_fixed_parameters_are_in_every_candidate():
    assert {params["a"] for params in _pool(fixed={"a": 7, "unknown": 1}).params} == {7}


def test_neighbours_were_not_drawn_before():
    source = CandidateSource(SPACE, devices=Devices.of(latency_of))
    rng = np.random.default_rng(0)
    pool = source.pool(rng, 30)
    near = source.near(rng, pool.params, 5)
    assert len(near)
    assert not [params for params in near.params if params in list(pool.params)]


def test_what_lacks_a_parameter_to_be_priced_is_set_aside():
    def latency_ms(params):
        return latency_of(params) if params["a"] else params["missing"]

    source = CandidateSource(SPACE, devices=Devices.of(latency_ms))
    assert all(params["a"] for params in source.pool(np.random.default_rng(0), 300).params)
    assert source.unpriced
    assert all(params["a"] == 0 for params in source.unpriced)


def test_tried_configurations_come_again_when_nothing_else_is_left():
    everything = [{"a": a, "b": b} for a in range(10) for b in range(10)]
    assert len(_pool(known=everything))


@pytest.mark.parametrize("kwargs", [{"max_latency_ms": 0.5}, {"latency_ms": lambda _: math.inf}])
def test_nothing_that_qualifies_is_told_with_the_cap(kwargs):
    with pytest.raises(NothingFeasibleError, match=r"none of .* configurations .* max_latency_ms = "):
        _pool(num=20, **kwargs)
