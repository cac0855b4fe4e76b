"""24 trials on real Ray, two at a time: some diverge, raise, die or lose their disk. Every view tells the same."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from command_line import give_mlflow_database
from eventful_search import DIES, LOSES_ITS_DISK, NUM_TRIALS
from settled import violations

from search.records import TrialState
from search.retries import root_of
from search.scheduler import DIED
from search.study import read_study
from search.tracking_place import default_tracking_uri
from search.verify import Expected

pytestmark = [pytest.mark.large, pytest.mark.integration]
SCRIPT = Path(__file__).parent / "eventful_search.py"
MLFLOW_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the search has run to its end, saying nothing."""
    folder = tmp_path_factory.mktemp("eventful")
    give_mlflow_database(folder)
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1] / "search"), str(SCRIPT.parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def attempts(folder):
    """The trials of the study by the first attempt that they repeat."""
    found = {}
    for trial in read_study(folder / "toy").trials:
        found.setdefault(root_of(trial), []).append(trial)
    return found


def _story(folder, root):
    return (folder / "toy" / "trials" / str(root) / "story.log").read_text().splitlines()


def _check_end(trial, story):
    """The last attempt ended as the last line of its story says."""
    match story[-1].split():
        case ["nan"]:
            epoch = sum(line.startswith("epoch") for line in story) + 1
            expected = (TrialState.PRUNED, f"diverged: top-1 is nan after epoch {epoch}")
            assert (trial.state, trial.reason) == expected
        case ["raised"]:
            expected = (TrialState.PRUNED, "RuntimeError: this configuration cannot be trained")
            assert (trial.state, trial.reason) == expected
        case ["epoch", "4"]:
            assert (trial.state, trial.reason, trial.num_epochs) == (TrialState.COMPLETE, "", 4)
            assert trial.top1 == trial.curve[-1]
        case ["epoch", epoch]:
            assert trial.state is TrialState.PRUNED
            assert trial.reason.startswith(f"at epoch {epoch}: ")
            assert trial.num_epochs == int(epoch)
        case _:
            pytest.fail(f"trial {trial.number} ended with {story[-1]!r}")


def test_the_study_tells_of_each_trial_what_befell_it(folder, attempts):
    for root, tries in attempts.items():
        story = _story(folder, root)
        num_lost = story.count("disk") + story.count("killed")
        assert [trial.state for trial in tries[:num_lost]] == [TrialState.FAIL] * num_lost
        assert len(tries) == num_lost + 1
        assert all(trial.retry_of == root for trial in tries[1:])
        assert all(later.curve[: len(trial.curve)] == trial.curve for trial, later in pairwise(tries))
        _check_end(tries[-1], story)
        epochs = [line for line in story if line.startswith("epoch")]
        assert epochs == [f"epoch {number}" for number in range(1, len(epochs) + 1)]  # none was trained twice


def test_every_invariant_holds(folder, attempts):
    executed = {root: sum(line.startswith("epoch") for line in _story(folder, root)) for root in attempts}
    assert violations(folder / "toy", Expected(executed_epochs=executed)) == ()


def test_the_trials_asked_for_are_there_besides_the_fixed_one(attempts):
    assert len(attempts) == NUM_TRIALS + 1


def test_accidents_happened_and_were_got_over(attempts):
    once, disk = (attempts[int(name)] for name in (DIES, LOSES_ITS_DISK))
    assert once[0].reason == f"lost: {DIED}"
    assert disk[0].reason == "lost: OSError: the disk went away"
    for tries in (once, disk):
        assert [trial.state for trial in tries] == [TrialState.FAIL, tries[-1].state]
        assert tries[-1].state in {TrialState.COMPLETE, TrialState.PRUNED}
        assert tries[-1].num_epochs > 1


def test_every_way_of_ending_is_among_them(folder, attempts):
    last_lines = {_story(folder, root)[-1] for root in attempts}
    assert last_lines >= {"nan", "raised", "epoch 4"}
    assert last_lines & {"epoch 2", "epoch 3"}  # stopped by the pruner


def test_mlflow_tells_the_same_of_each_trial(folder, attempts):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=default_tracking_uri(folder))
    experiment = client.get_experiment_by_name("spvit/toy")
    runs = {run.data.tags.get("spvit.trial"): run for run in client.search_runs([experiment.experiment_id])}
    assert runs.pop(None).info.status == "FINISHED"
    trials = {str(trial.number): trial for tries in attempts.values() for trial in tries}
    assert runs.keys() == trials.keys()
    for number, trial in trials.items():
        tags = runs[number].data.tags
        assert runs[number].info.status == MLFLOW_STATUS[trial.state]
        assert (tags["spvit.state"], tags.get("spvit.reason", "")) == (trial.state, trial.reason)
        known = 0 if trial.retry_of is None else max(t.num_epochs for t in attempts[trial.retry_of][:-1])
        points = (
            client.get_metric_history(runs[number].info.run_id, "top1") if "top1" in runs[number].data.metrics else []
        )
        assert [point.step for point in points] == list(range(known + 1, trial.num_epochs + 1))
        assert [point.value for point in points] == pytest.approx(trial.curve[known:], rel=1e-5)
