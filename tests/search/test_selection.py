from dataclasses import replace

import pytest

from search.selection import best_trial, choose_trial, front_trials, keep_rates
from spvit.errors import NothingFeasibleError, UsageError


def test_best_trial_needs_the_upper_end_of_its_interval_within_the_budget(study):
    # Trial 2 is predicted at 5.95 ms, but up to 6.07 ms: over a cap of 6 ms, as the search itself would say.
    assert best_trial(study).number == 1
    assert best_trial(study, 6.1).number == 2
    assert best_trial(study, 1.0) is None


def test_front_is_fastest_first(study):
    assert [t.number for t in front_trials(study)] == [1, 2]


def test_choose_by_number(study):
    assert choose_trial(study, number=3).number == 3


@pytest.mark.parametrize(
    ("number", "match"),
    [(99, "no trial 99; its trials are: 0 to 5"), (4, "PRUNED.*below the median.*complete trials: 0, 1, 2, 3")],
)
def test_choosing_a_trial_that_cannot_be_had_says_which_can(study, number, match):
    with pytest.raises(UsageError, match=match):
        choose_trial(study, number=number)


def test_nothing_within_the_budget_names_the_closest(study):
    with pytest.raises(NothingFeasibleError, match=r"within 1\.00 ms.*closest is trial 1: 85\.00 % at 5\.00 ms"):
        choose_trial(study, max_latency_ms=1.0)
    with pytest.raises(NothingFeasibleError, match="trained to the end"):
        choose_trial(replace(study, trials=()))


def test_keep_rates_are_those_of_the_schedule(study):
    assert keep_rates(study.trials[0]) == (0.8, 0.5)
