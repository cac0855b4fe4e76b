"""F8, F25: a paused driver and its worker wake up when the study is another's."""

import plans
import pytest
from harness import undisturbed_search
from takeover import contest

pytestmark = pytest.mark.faults


def test_nothing_of_a_driver_that_was_shut_out_is_kept(tmp_path):
    seed = 1
    print(f"seed {seed}")
    undisturbed = undisturbed_search(tmp_path / "undisturbed")
    tally = contest(plans.order(tmp_path, seed), seed, undisturbed)
    assert tally.faults == 1
    assert tally.violations == []
    assert (tally.lost, tally.run_twice, tally.fronts_identical) == (0, 0, 1)
    assert tally.epochs_wasted <= 1
