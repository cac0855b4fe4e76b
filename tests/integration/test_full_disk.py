"""Real Ray on a real small disk that fills up: the search ends once, with exit code 8, and goes on later."""

import sys
from pathlib import Path

import pytest
from marked_search import NUM_TRIALS, Search
from settled import violations

from search.failures import Failure
from search.records import Origin, TrialState
from search.verify import Expected

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import small_disk

pytestmark = [pytest.mark.large, pytest.mark.integration]
MIB = 1 << 20


@small_disk.needs_root
def test_a_full_disk_ends_a_search_with_8_and_space_lets_it_go_on(tmp_path):
    with small_disk.small_disk(tmp_path / "disk", 64 * MIB) as disk:
        search = Search(disk, epoch_seconds=0.2)
        search.wait_for(lambda study: any(trial.num_epochs for trial in study.trials))
        ballast = small_disk.fill(disk)
        code, output, before = search.end()
        assert code == 8, output
        assert "StorageError: " in output
        assert "spvit-search resume toy" in output
        assert sum(trial.failure is Failure.STORAGE for trial in before.trials) <= 1
        ballast.unlink()
        code, output, after = Search(disk, epoch_seconds=0.05).end()
        assert (code, output) == (0, "")
        assert violations(disk / "toy", Expected(before=before)) == ()
        for trial in before.trials:
            later = after.trials[trial.number]
            assert later == trial or (trial.state is TrialState.RUNNING and later.failure is Failure.INTERRUPTED)
            assert later.curve == trial.curve
        ended = [trial for trial in after.trials if trial.state in {TrialState.COMPLETE, TrialState.PRUNED}]
        assert sum(trial.origin is not Origin.BASELINE for trial in ended) == NUM_TRIALS
