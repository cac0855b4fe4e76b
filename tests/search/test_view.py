import io
from dataclasses import replace

import pytest
from rich.console import Console

from search.console import LastingConsole
from search.failures import Failure
from search.progress_state import ProgressState, duration
from search.records import EndCause, SearchEnd, TrialState
from search.retries import INTERRUPTED
from search.view import TerminalView, status_lines


def play(view, study):
    view.on_study_start(replace(study, trials=()))
    for trial in study.trials:
        running = replace(trial, state=TrialState.RUNNING, curve=(), top1=None)
        view.on_trial_start(running)
        for epoch in range(1, len(trial.curve) + 1):
            view.on_epoch(replace(running, curve=trial.curve[:epoch]), {"epoch": epoch})
        view.on_trial_end(trial)
    view.on_study_end(study)
    view.close()


def test_elsewhere_than_on_a_terminal_each_ended_trial_is_one_plain_line(study):
    buffer = io.StringIO()
    play(TerminalView(Console(file=buffer, force_terminal=False, width=40)), study)
    lines = buffer.getvalue().splitlines()
    assert len(lines) == 1 + len(study.trials) + 1
    assert "trial 4 keep 0.80, 0.50: 70.00 % at 4.00 ms, stopped: after epoch 1: below the median" in lines
    assert "trial 0 (fixed [.7, .49]) keep 0.80, 0.50: 80.00 % at 5.80 ms, trained in full" in lines
    assert lines[-1].endswith("best 85.00 % at 5.00 ms (trial 1)")
    assert "\x1b" not in buffer.getvalue()


def test_on_a_terminal_the_display_is_closed_and_lines_stay(study):
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, width=120, _environ={"TERM": "xterm"})
    play(TerminalView(console), study)
    assert buffer.getvalue().count("trained in full") >= 4
    assert "\x1b[?25h" in buffer.getvalue()  # the cursor is shown again


def test_a_terminal_that_went_away_does_not_disturb(study):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    console = LastingConsole(file=Gone(), force_terminal=True)
    play(TerminalView(console), study)
    assert console.quiet


def test_display_shows_running_trials_and_a_forecast(study):
    running = replace(study.trials[1], number=6, state=TrialState.RUNNING, curve=(70.0,), top1=None)
    state = ProgressState.begin(replace(study, trials=()), now_s=100.0)
    for trial in (*study.trials, running):
        state = state.with_trial(trial)
    lines = status_lines(state, now_s=180.0)
    assert lines[0] == f"trial   6  {'█' * 6}{'░' * 14}  epoch 1/3  5.00 ms  70.00 %"
    assert lines[1] == "4 of 5 trials: 4 trained in full, 1 stopped, 1 failed, 7 proposals rejected"
    assert lines[3] == "1 min 20 s elapsed, about 20 s left"


def test_trials_of_an_earlier_session_do_not_count_into_the_pace(study):
    state = ProgressState.begin(study, now_s=0.0)
    assert state.remaining_s(50.0) is None
    state = state.with_trial(replace(study.trials[1], number=6))
    assert state.remaining_s(50.0) == 0.0
    assert replace(state, study=replace(state.study, num_trials=8)).remaining_s(50.0) == pytest.approx(150.0)


@pytest.mark.parametrize(("seconds", "text"), [(45.4, "45 s"), (185, "3 min 05 s"), (7810, "2 h 10 min")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_a_study_that_was_finished_before_is_said_to_be(study):
    buffer = io.StringIO()
    view = TerminalView(Console(file=buffer, force_terminal=False))
    end = SearchEnd(cause=EndCause.TRIALS, reason="search.num_trials = 4 trials have ended")
    finished = replace(study, num_trials=4, end=end)
    view.on_study_start(finished)
    view.on_study_end(finished)
    assert "nothing was left to do, the study is finished" in buffer.getvalue()
    assert "(search.num_trials = 4 trials have ended); a larger limit goes on" in buffer.getvalue()


def test_an_interrupted_trial_is_not_called_a_failed_one(study):
    buffer = io.StringIO()
    trials = (*study.trials, replace(study.trials[5], number=6, reason=INTERRUPTED, failure=Failure.INTERRUPTED))
    play(TerminalView(Console(file=buffer, force_terminal=False)), replace(study, trials=trials))
    lines = buffer.getvalue().splitlines()
    assert "trial 5 keep 0.80, 0.50: 4.20 ms, failed: worker lost" in lines
    assert f"trial 6 keep 0.80, 0.50: 4.20 ms, {INTERRUPTED}" in lines
    assert "4 trained in full, 1 stopped, 1 failed, 1 interrupted" in lines[-1]
