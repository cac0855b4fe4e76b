"""F1, F2, F3, F12, F14, F20, F26, F30: drivers killed and stopped at seeded moments, disks that fail under them.

Without Ray, so that a kill costs seconds: the driver, its study, lock and checkpoints are the product's, the worker is
in the driver's process. `make faults` does hundreds, and some with Ray.
"""

from pathlib import Path

import plans
import pytest
from harness import disturbed, undisturbed_search

from search.failures import Failure
from search.records import TrialState
from search.verify import verify_study

pytestmark = [pytest.mark.large, pytest.mark.faults]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_search(tmp_path_factory.mktemp("undisturbed") / "search")


def _check(tally):
    assert tally.violations == []
    assert (tally.lost, tally.run_twice) == (0, 0)
    assert tally.epochs_wasted <= tally.faults
    assert tally.fronts_identical == tally.fronts == 1


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_search_killed_again_and_again_finds_what_an_undisturbed_one_does(seed, tmp_path, undisturbed):
    print(f"seed {seed}")
    tally = disturbed(plans.order(tmp_path, seed), plans.kills(seed, 4), undisturbed)
    assert tally.faults
    _check(tally)


@pytest.mark.parametrize("seed", [10, 12])
def test_a_search_that_is_told_to_stop_ends_with_75_and_goes_on(seed, tmp_path, undisturbed):
    print(f"seed {seed}")
    _check(disturbed(plans.order(tmp_path, seed), [plans.stops(seed)], undisturbed))


@pytest.mark.parametrize("fault", [plans.full_disk, plans.broken_disk])
def test_a_disk_that_fails_under_the_study_ends_the_search_with_8_and_loses_nothing(fault, tmp_path, undisturbed):
    seed = 20
    print(f"seed {seed}")
    _check(disturbed(plans.order(tmp_path, seed), [fault(seed)], undisturbed))


def test_no_trial_that_diverged_has_a_result(undisturbed):
    assert verify_study(Path(undisturbed.directory)).violations == ()
    diverged = [trial for trial in undisturbed.trials if trial.failure is Failure.DIVERGENCE]
    assert diverged
    assert all(t.state is TrialState.PRUNED and t.top1 is None and len(t.curve) == 1 for t in diverged)
