import math

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from search.outcomes import outcomes

X = {"x": FloatDistribution(0.0, 1.0)}


def _trial(quality=None, *, state=TrialState.COMPLETE, curve=None, params=None, fixed=None):
    return create_trial(
        state=state,
        values=None if quality is None else [quality, 1.0],
        params={"x": 0.5} if params is None else params,
        distributions=X if params is None else {},
        user_attrs={} if curve is None else {"curve": curve},
        system_attrs={} if fixed is None else {"fixed_params": fixed},
    )


def _qualities(*trials):
    return [outcome.quality for outcome in outcomes(trials)]


def test_a_pruned_trial_counts_as_its_last_value_and_the_median_gain_from_there():
    finished = [_trial(80.0, curve=[60.0, 70.0, 80.0]), _trial(90.0, curve=[50.0, 86.0, 90.0]), _trial(99.0)]
    assert _qualities(*finished, _trial(state=TrialState.PRUNED, curve=[40.0, 50.0]))[-1] == 50.0 + 7.0


@pytest.mark.parametrize("curve", [None, [], [50.0, math.nan]])
def test_a_pruned_trial_that_tells_nothing_counts_as_the_worst(curve):
    assert _qualities(_trial(80.0), _trial(70.0), _trial(state=TrialState.PRUNED, curve=curve))[-1] == 70.0


def test_an_infinite_quality_counts_as_the_worst():
    assert _qualities(_trial(80.0), _trial(70.0), _trial(-math.inf)) == [80.0, 70.0, 70.0]


def test_before_any_trial_is_finished_nothing_is_known():
    assert _qualities(_trial(state=TrialState.PRUNED, curve=[1.0]), _trial(state=TrialState.RUNNING)) == [None, None]


def test_failed_trials_are_left_out_and_enqueued_ones_are_not():
    waiting = _trial(state=TrialState.WAITING, params={}, fixed={"x": 0.25})
    asked_nothing = _trial(state=TrialState.RUNNING, params={})
    known = outcomes([_trial(state=TrialState.FAIL), waiting, asked_nothing])
    assert [(outcome.params, outcome.quality) for outcome in known] == [({"x": 0.25}, None)]
