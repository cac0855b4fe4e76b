"""Real Ray, real signals: one search that is stopped in order, stopped at once, has a worker freeze, and ends."""

import signal
import time

import pytest
from marked_search import NUM_TRIALS, Search
from settled import violations

from search.failures import Failure
from search.records import Origin, TrialState
from search.retries import INTERRUPTED
from search.verify import Expected

pytestmark = [pytest.mark.large, pytest.mark.integration]
LONG_S = 120.0


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The search in four sessions; what each left."""
    folder, said = tmp_path_factory.mktemp("stopping"), {}
    first = Search(folder, epoch_seconds=0.2)
    first.wait_for(lambda study: any(trial.num_epochs for trial in study.trials))
    (folder / "toy" / "epoch_seconds").write_text(str(LONG_S))  # for trials that begin from now on
    first.wait_for(lambda study: study.finished)
    time.sleep(1.0)
    first.process.send_signal(signal.SIGTERM)
    said["in order"] = (*first.end(), first.has_left_processes)
    second = Search(folder, epoch_seconds=LONG_S)
    num_before = len(said["in order"][2].trials)
    second.wait_for(lambda study: len(study.trials) > num_before)
    second.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    second.process.send_signal(signal.SIGINT)
    said["at once"] = (*second.end(), second.has_left_processes)
    (folder / "toy" / "freeze_worker").touch()
    third = Search(folder, epoch_seconds=0.05, stuck_floor_s=8, stuck_factor=2)
    said["to the end"] = (*third.end(), third.has_left_processes)
    for session in ("in order", "at once"):
        assert violations(folder / "toy", Expected(before=said[session][2])) == ()
    return said


def _is_soon(condition):
    for _ in range(450):  # Ray's agents look every few seconds whether their node is there
        if condition():
            return True
        time.sleep(0.2)
    return False


def test_sigterm_within_long_epochs_ends_in_order_with_the_states_right(story):
    code, output, study, _ = story["in order"]
    assert code == 75
    assert "spvit-search resume" in output
    assert len(output.splitlines()) == 1
    assert study.finished
    running = [trial for trial in study.trials if trial.state is TrialState.RUNNING]
    interrupted = [trial for trial in study.trials if trial.failure is Failure.INTERRUPTED]
    assert (len(running), {trial.reason for trial in interrupted}) == (0, {INTERRUPTED})


def test_a_second_signal_ends_at_once_with_nothing_lost(story):
    code, output, study, _ = story["at once"]
    assert (code, "stopped at once" in output) == (75, True)
    earlier = story["in order"][2]
    kept = {trial.number: trial for trial in earlier.trials if trial.state.is_finished}
    assert {number: study.trials[number] for number in kept} == kept


def test_a_frozen_worker_is_killed_and_its_trial_run_again(story):
    code, output, study, _ = story["to the end"]
    assert (code, output) == (0, "")
    (stuck,) = [trial for trial in study.trials if trial.failure is Failure.INFRASTRUCTURE]
    assert stuck.reason.startswith("lost: stuck: no report for ")
    assert all(trial.state.is_finished for trial in study.trials)
    ended = [trial for trial in study.trials if trial.state in {TrialState.COMPLETE, TrialState.PRUNED}]
    assert sum(trial.origin is not Origin.BASELINE for trial in ended) == NUM_TRIALS
    again = [trial for trial in ended if trial.retry_of is not None and trial.number > stuck.number]
    assert any(trial.retry_of in {stuck.number, stuck.retry_of} for trial in again)


@pytest.mark.parametrize("session", ["in order", "at once", "to the end"])
def test_no_process_is_left(story, session):
    has_left_processes = story[session][3]
    assert _is_soon(lambda: not has_left_processes())
