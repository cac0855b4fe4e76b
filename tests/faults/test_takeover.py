"""F8, F25: a paused driver, its worker and its tracker wake up when the study is another's."""

from dataclasses import replace
from pathlib import Path

import plans
import pytest
from command_line import give_mlflow_database
from harness import undisturbed_search
from takeover import contest

pytestmark = [pytest.mark.large, pytest.mark.faults]


def test_nothing_of_a_driver_that_was_shut_out_is_kept(tmp_path):
    seed = 1
    print(f"seed {seed}")
    undisturbed = undisturbed_search(tmp_path / "undisturbed")
    order = replace(plans.order(tmp_path, seed), is_tracked=True)
    give_mlflow_database(Path(order.folder) / order.directory)
    tally = contest(order, seed, undisturbed)
    assert tally.faults == 1
    assert tally.violations == []
    assert (tally.lost, tally.run_twice, tally.fronts_identical) == (0, 0, 1)
    assert tally.epochs_wasted <= 1
