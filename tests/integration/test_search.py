"""Real Ray, a real study, tabulated trials: what must survive whatever is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from settled import violations

from search.records import Origin, TrialState
from search.study import read_study
from search.verify import Expected
from spvit.errors import SpvitError

pytestmark = [pytest.mark.large, pytest.mark.integration]
SCRIPT = Path(__file__).parent / "tabulated_search.py"


def _start(directory, *, num_trials, epoch_seconds, takeover=False):
    arguments = [sys.executable, str(SCRIPT), str(directory), str(num_trials), str(epoch_seconds)]
    arguments += ["{}", "takeover"] if takeover else []
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1] / "search"), str(SCRIPT.parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait_for(directory, condition):
    for _ in range(1800):
        time.sleep(0.1)
        try:
            study = read_study(directory / "toy")
        except (SpvitError, KeyError):
            continue
        if condition(study):
            return study
    pytest.fail("the search did not get that far in three minutes")


def _epochs_worked(directory, trial):
    root = trial.number if trial.retry_of is None else trial.retry_of
    return [int(line) for line in (directory / "toy" / "trials" / str(root) / "work.log").read_text().split()]


def _check_whole(study, num_trials):
    assert all(t.state in {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} for t in study.trials)
    ended = [t for t in study.trials if t.state is not TrialState.FAIL]
    assert sum(t.origin is not Origin.BASELINE for t in ended) == num_trials
    assert sum(t.origin is Origin.BASELINE for t in ended) == 1


def test_a_killed_driver_loses_and_repeats_no_finished_trial(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "kill_worker").touch()  # one worker dies as well, and is started again
    driver = _start(tmp_path, num_trials=5, epoch_seconds=0.4)
    _wait_for(
        tmp_path, lambda s: len(s.finished) >= 2 and any(t.state is TrialState.RUNNING and t.curve for t in s.trials)
    )
    driver.kill()
    driver.communicate(timeout=30)
    before = read_study(tmp_path / "toy")
    again = _start(tmp_path, num_trials=5, epoch_seconds=0.0)
    output, _ = again.communicate(timeout=240)
    assert (again.returncode, output) == (0, "")
    after = read_study(tmp_path / "toy")
    _check_whole(after, num_trials=5)
    kept = {t.number: t for t in before.trials if t.state.is_finished}
    assert {number: after.trials[number] for number in kept} == kept
    assert violations(tmp_path / "toy", Expected(before=before)) == ()
    for trial in after.finished:
        assert sorted(set(_epochs_worked(tmp_path, trial))) == [1, 2, 3, 4]
        assert len(_epochs_worked(tmp_path, trial)) <= 5  # an epoch that was under way may have been done twice


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_driver_says_how_to_go_on_and_leaves_nothing_running(tmp_path, number):
    driver = _start(tmp_path, num_trials=50, epoch_seconds=0.3)
    _wait_for(tmp_path, lambda s: any(t.curve for t in s.trials))
    driver.send_signal(number)
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 75, output
    assert "StoppedError: the search was stopped after" in output
    assert "spvit-search resume toy" in output
    assert len(output.splitlines()) == 1
    assert not [t for t in read_study(tmp_path / "toy").trials if not t.state.is_finished]


def test_a_paused_driver_that_was_taken_over_is_shut_out(tmp_path):
    paused = _start(tmp_path, num_trials=50, epoch_seconds=0.3)
    _wait_for(tmp_path, lambda s: any(t.curve for t in s.trials))
    paused.send_signal(signal.SIGSTOP)
    try:
        refused = _start(tmp_path, num_trials=3, epoch_seconds=0.0)
        output, _ = refused.communicate(timeout=240)
        assert (refused.returncode, f"process {paused.pid} on" in output) == (6, True), output
        second = _start(tmp_path, num_trials=3, epoch_seconds=0.0, takeover=True)
        output, _ = second.communicate(timeout=480)
        assert (second.returncode, output) == (0, "")
        found = read_study(tmp_path / "toy")
    finally:
        paused.send_signal(signal.SIGCONT)
    output, _ = paused.communicate(timeout=240)
    assert paused.returncode == 6, output
    assert re.fullmatch(r"StudyLockedError: study 'toy': it was taken over by process \d+ on .*\n", output)
    assert read_study(tmp_path / "toy") == found
    assert violations(tmp_path / "toy") == ()
