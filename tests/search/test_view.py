import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import tabulated
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search.console import LastingConsole
from search.failures import Failure
from search.progress_state import ProgressState, duration
from search.records import EndCause, Origin, Rejection, SearchEnd, TrialState
from search.retries import INTERRUPTED
from search.usage import Usage
from search.view import TerminalView
from search.view_lines import status_lines, stop_kinds


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
    state = state.with_rejections({Rejection.TOO_SLOW: 5, Rejection.DUPLICATE: 2})
    lines = status_lines(state, now_s=240.0, now=datetime(2026, 5, 4, 23, 59, 50, tzinfo=UTC))
    assert lines == [
        f"trial   6  {'█' * 6}{'░' * 14}  epoch 1/3  5.00 ms  70.00 %",
        "4 of 5 trials: 4 trained in full, 1 stopped, 1 failed, 7 proposals rejected (5 too slow, 2 duplicate)",
        "stopped: 1 behind; last trial 4, after epoch 1: below the median",
        "best under 6 ms: 85.00 % at 5.00 ms (trial 1)",
        "front, 2 trials: 85.00 % at 5.00 ms · 88.00 % at 5.95 ms",
        # 14 epochs took 140 s; the running trial is to train the 2.5 epochs of a typical one.
        "2 min 20 s elapsed, about 15 s left, until Tue 00:00",
    ]


def test_epochs_of_an_earlier_session_do_not_count_into_the_pace(study):
    state = ProgressState.begin(study, now_s=0.0)
    assert state.remaining_s(50.0) is None
    state = state.with_trial(replace(study.trials[1], number=6))
    assert state.remaining_s(60.0) == 0.0
    more = replace(state, study=replace(state.study, num_trials=8))
    assert more.remaining_s(60.0) == pytest.approx(3 * (4 * 3 + 1) / 5 * 20.0)  # 3 trials of 2.6 epochs of 20 s


def test_a_forecast_is_there_after_the_first_epoch_and_knows_the_limit_of_time(study, make_trial):
    running = make_trial(0, 0.0, 5.0, state=TrialState.RUNNING, curve=(70.0,))
    state = ProgressState.begin(replace(study, trials=()), now_s=0.0).with_trial(running)
    assert state.remaining_s(10.0) == pytest.approx(10.0 * (2 + 4 * 3))
    limited = replace(state.study, experiment={"search": {"max_wall_time_s": 40.0}}, usage=Usage(wall_s=5.0))
    assert replace(state, study=limited).remaining_s(10.0) == pytest.approx(25.0)


def _elastic_study(study, tmp_path, **search):
    """Not begun: 3 elastic trials of 8 epochs where there are settings to explore, then 5 schedules of 2."""
    config = tabulated.experiment(tmp_path, **({"mode": "auto"} | search)).model_dump(mode="json")
    num_trials = 0 if config["search"]["mode"] == "elastic" else 5
    return replace(study, experiment=config, trials=(), num_trials=num_trials, num_epochs=4)


def _left_after_an_epoch_of(study, trial, *others):
    """Epochs that are to come after a first one of a trial, of 10 s."""
    state = ProgressState.begin(replace(study, trials=others), now_s=0.0).with_trial(trial)
    return state.remaining_s(10.0) / 10.0


SETTINGS = {"stage_keep_rates": {"low": 0.15, "high": 0.9}, "losses": {"distillation": {"low": 0.1, "high": 4.0}}}


@pytest.mark.parametrize(
    ("search", "to_come"),
    [
        ({}, 5 * 2),  # a term of one schedule's counts is explored, which elastic trials have no use for
        ({"space": SETTINGS}, 2 * 8 + 5 * 2),
        ({"space": {}}, 2 * 8 + 5 * 2),  # the usual space explores a learning rate
        ({"space": SETTINGS, "elastic": {"num_trials": 5}}, 4 * 8 + 5 * 2),
        ({"space": SETTINGS, "elastic": {"epochs": 6, "contender_epochs": 1}}, 2 * 6 + 5),
        ({"space": SETTINGS, "mode": "elastic"}, 2 * 8),
        ({"space": SETTINGS, "mode": "schedule"}, 5 * 4),
    ],
)
def test_elastic_trials_to_come_count_and_schedules_as_they_are_trained_further(
    study, make_trial, tmp_path, search, to_come
):
    begun = _elastic_study(study, tmp_path, **search)
    config = {"training": {"epochs": 8}}
    running = make_trial(0, 0.0, 5.0, state=TrialState.RUNNING, curve=(70.0,), origin=Origin.ELASTIC, config=config)
    assert _left_after_an_epoch_of(begun, running) == pytest.approx(7 + to_come)


def test_no_elastic_trial_is_to_come_once_a_schedule_has_begun(study, make_trial, tmp_path):
    begun = _elastic_study(study, tmp_path, space=SETTINGS)
    elastic = make_trial(0, 80.0, 5.0, origin=Origin.ELASTIC, config={"training": {"epochs": 8}})
    further = make_trial(1, 0.0, 5.0, state=TrialState.RUNNING, curve=(70.0,), config={"training": {"epochs": 2}})
    assert _left_after_an_epoch_of(begun, further, elastic) == pytest.approx(1 + 4 * 2)
    backbone = replace(further, config={"training": {"epochs": 4}})  # as no elastic trial was trained to its end
    assert _left_after_an_epoch_of(begun, backbone, replace(elastic, state=TrialState.PRUNED)) == pytest.approx(3 + 16)


def test_an_elastic_trial_that_was_lost_is_to_come_again(study, make_trial, tmp_path):
    begun = _elastic_study(study, tmp_path, space=SETTINGS)
    config = {"training": {"epochs": 8}}
    lost = make_trial(0, 0.0, 5.0, state=TrialState.FAIL, curve=(), origin=Origin.ELASTIC, config=config)
    again = replace(lost, number=1, state=TrialState.RUNNING, curve=(70.0,), retry_of=0)
    assert _left_after_an_epoch_of(begun, again, lost) == pytest.approx(7 + 2 * 8 + 5 * 2)
    other = replace(again, retry_of=None)
    assert _left_after_an_epoch_of(begun, other, lost) == pytest.approx(7 + 2 * 8 + 5 * 2)


@given(st.lists(st.tuples(st.sampled_from(TrialState), st.integers(0, 3)), max_size=8), st.floats(0, 1e6))
def test_a_forecast_is_never_negative_and_ends_at_nothing(states, now_s):
    from search.records import Latency, StudyRecord, TrialRecord

    latency = Latency(mean_ms=5.0, low_ms=5.0, high_ms=5.0)
    trials = tuple(
        TrialRecord(
            number=number, state=state, params={}, config={}, latency=latency, keep_counts=(), blocks=(),
            curve=(50.0,) * epochs, top1=50.0 if state is TrialState.COMPLETE else None,
        )
        for number, (state, epochs) in enumerate(states)
    )  # fmt: skip
    study = StudyRecord(
        name="s", directory="s", experiment={}, dense_latency=latency, max_latency_ms=9.0, num_trials=4, num_epochs=3
    )
    state = ProgressState.begin(study, 0.0)
    for trial in trials:
        state = state.with_trial(trial)
    remaining_s = state.remaining_s(now_s)
    assert (remaining_s is None) == (sum(trial.num_epochs for trial in trials) == 0)
    assert remaining_s is None or remaining_s >= 0.0
    if remaining_s is not None and not state.running and state.num_ended >= 4:
        assert remaining_s == 0.0


def test_reasons_of_stopped_trials_are_counted_by_kind(study, make_trial):
    reasons = [
        "at epoch 2: 99 % upper bound 70.0 % lies under trial 1",
        "after epoch 2: not in the best 1/3",
        "diverged: top-1 is nan after epoch 1",
        "DivergedError: the loss is inf",
        "RuntimeError: out of memory",
    ]
    trials = [make_trial(n, 0.0, 5.0, state=TrialState.PRUNED, reason=reason) for n, reason in enumerate(reasons)]
    assert stop_kinds(replace(study, trials=tuple(trials))) == {"behind": 2, "diverged": 2, "RuntimeError": 1}


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
