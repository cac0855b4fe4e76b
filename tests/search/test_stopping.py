"""Rules that end a search: what they say, what becomes of running trials, what a continued study makes of them."""

from dataclasses import replace
from itertools import count

import pytest
import tabulated
from hypothesis import given
from hypothesis import strategies as st

from search.commands import status
from search.driver import Decision, Idle
from search.records import EndCause, Latency, Origin, StudyRecord, TrialRecord, TrialState
from search.retries import INTERRUPTED
from search.search_config import SearchConfig
from search.stopping import GpuHours, Patience, RunningTrials, TargetTop1, WallTime, stop_rules
from search.study import read_study
from search.study_report import study_note
from search.study_updates import search_ended
from search.summary import summarise
from search.usage import Usage, UsageMeter

EPOCH_S = 10.0


class Clock:
    """A time that passes by ten seconds with every epoch that is reported."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s

    def report(self, trial, epoch):
        self.now_s += EPOCH_S
        return tabulated.metrics(epoch, tabulated.top1(trial, epoch))


def _searched(tmp_path, *, clock=None, **search):
    clock = clock or Clock()
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, sampler="random", **search), clock=clock)
    tabulated.run(driver, report=clock.report)
    driver.finish()
    return driver, read_study(tmp_path / "toy")


def test_the_number_of_trials_is_named_as_the_end(tmp_path):
    _, study = _searched(tmp_path)
    assert study.end.cause is EndCause.TRIALS
    assert study.end.reason == "search.num_trials = 8 trials have ended"


def test_a_target_ends_the_search_and_lets_running_trials_finish(tmp_path):
    driver, study = _searched(tmp_path, num_trials=40, target_top1=85.0, pruner="none")
    best = summarise(study).best
    assert study.end.cause is EndCause.TARGET
    assert (
        study.end.reason == f"search.target_top1 = 85 is reached: trial {best.number} has {best.top1:.2f} % within 7 ms"
    )
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}
    assert driver.is_finished
    before_it = [t for t in study.trials if t.finished_at < study.trials[best.number].finished_at]
    assert all(t.top1 < 85.0 or t.latency.high_ms > study.max_latency_ms for t in before_it)


def test_a_reached_target_starts_nothing_when_the_study_is_continued_and_a_higher_one_does(tmp_path):
    _, before = _searched(tmp_path, num_trials=40, target_top1=85.0)
    driver, again = _searched(tmp_path, num_trials=50, target_top1=85.0)
    assert driver.is_finished
    assert again.trials == before.trials
    assert again.end == before.end
    _, further = _searched(tmp_path, num_trials=len(before.trials) + 3, target_top1=99.9)
    assert len(further.trials) > len(before.trials)
    assert further.end.cause is EndCause.TRIALS


def test_with_several_budgets_the_target_is_to_be_reached_within_the_smallest(study):
    rule = TargetTop1(top1=86.0)
    assert rule.end(study, Usage()) is None  # trial 2 has 88 %, at up to 6.07 ms of 6
    assert rule.end(replace(study, max_latency_ms=6.1), Usage()) is not None
    assert rule.end(replace(study, max_latency_ms=6.1, smaller_budgets_ms=(5.5,)), Usage()) is None


def test_wall_time_interrupts_running_trials_which_go_on_with_a_larger_limit(tmp_path):
    clock = Clock()
    driver, study = _searched(tmp_path, clock=clock, num_trials=40, max_wall_time_s=65.0)
    assert study.end.cause is EndCause.WALL_TIME
    assert study.end.reason == "search.max_wall_time_s = 65 is used up, all sessions together"
    assert driver.is_finished
    assert study.usage.wall_s == 70.0  # the epoch in which it ran out is kept
    interrupted = [t for t in study.trials if t.reason == INTERRUPTED]
    assert interrupted
    assert sum(t.num_epochs for t in study.trials) == 7
    clock.now_s += 1e6  # nothing runs meanwhile
    again, unchanged = _searched(tmp_path, clock=clock, num_trials=40, max_wall_time_s=65.0)
    assert again.is_finished
    assert (unchanged.trials, unchanged.usage, unchanged.end) == (study.trials, study.usage, study.end)
    _, longer = _searched(tmp_path, clock=clock, num_trials=40, max_wall_time_s=135.0)
    assert longer.usage.wall_s == 140.0
    retried = {t.retry_of for t in longer.trials if t.retry_of is not None}
    assert retried >= {t.number for t in interrupted}


def test_gpu_hours_count_the_gpus_that_running_trials_hold(tmp_path):
    hours = 8 * 2 * 0.5 * EPOCH_S / 3600  # eight epochs, two trials at once, half a GPU each
    _, study = _searched(tmp_path, num_trials=40, pruner="none", gpus_per_trial=0.5, max_gpu_hours=hours)
    assert study.end.cause is EndCause.GPU_HOURS
    assert study.usage.gpu_hours == pytest.approx(hours)
    assert study.usage.wall_s == 8 * EPOCH_S


def test_gpu_hours_without_gpus_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"max_gpu_hours = 3 would never end.*gpus_per_trial"):
        tabulated.experiment(tmp_path, max_gpu_hours=3.0)


def test_patience_ends_a_search_that_finds_nothing_better(tmp_path):
    _, study = _searched(tmp_path, num_trials=40, patience_trials=3)
    assert study.end.cause is EndCause.PATIENCE
    ended = sorted((t for t in study.trials if t.state.is_finished), key=lambda t: t.finished_at)
    assert len(ended) < 40
    assert Patience(num_trials=3).end(replace(study, trials=tuple(ended[:-2])), Usage()) is None


@given(tops=st.lists(st.floats(1.0, 99.0), min_size=1, max_size=12), num_trials=st.integers(1, 6))
def test_patience_counts_trials_since_the_last_better_one(tops, num_trials):
    """All at one latency: the hypervolume grows exactly with each record."""
    trials = tuple(
        TrialRecord(
            number=number,
            state=TrialState.COMPLETE,
            params={},
            config={},
            latency=tabulated.dense(),
            keep_counts=(),
            blocks=(),
            top1=top1,
            finished_at=float(number),
        )
        for number, top1 in enumerate(tops)
    )
    dense = Latency(mean_ms=20.0, low_ms=20.0, high_ms=20.0)
    study = StudyRecord(
        name="x",
        directory="x",
        experiment={},
        dense_latency=dense,
        max_latency_ms=15.0,
        num_trials=9,
        num_epochs=1,
        trials=trials,
    )
    last_record = max(n for n, top1 in enumerate(tops) if top1 > max(tops[:n], default=0.0) * (1 + 1e-9))
    assert (Patience(num_trials=num_trials).end(study, Usage()) is not None) == (
        len(tops) - 1 - last_record >= num_trials
    )


def test_neither_baselines_nor_lost_trials_try_patience(study, make_trial):
    trials = (make_trial(0, 85.0, 5.0), make_trial(1, 80.0, 5.5, origin=Origin.BASELINE))
    lost = make_trial(2, 0.0, 5.0, state=TrialState.FAIL)
    rule = Patience(num_trials=1)
    assert rule.end(replace(study, trials=(*trials, lost)), Usage()) is None
    assert rule.end(replace(study, trials=(*trials, make_trial(3, 84.0, 5.2))), Usage()) is not None


def test_rules_are_made_of_what_is_set():
    assert stop_rules(SearchConfig()) == ()
    config = SearchConfig(max_wall_time_s=60, max_gpu_hours=2, gpus_per_trial=1, target_top1=80, patience_trials=9)
    rules = stop_rules(config)
    assert rules == (TargetTop1(top1=80.0), Patience(num_trials=9), WallTime(max_s=60.0), GpuHours(max_hours=2.0))
    assert [rule.running_trials for rule in rules] == [RunningTrials.FINISH] * 2 + [RunningTrials.STOP] * 2


@given(steps=st.lists(st.tuples(st.floats(0.0, 1e4), st.integers(0, 8)), max_size=20), gpus=st.floats(0.0, 4.0))
def test_a_meter_adds_up_what_passes(steps, gpus):
    now = [0.0]
    meter = UsageMeter(Usage(wall_s=5.0, gpu_s=7.0), gpus_per_trial=gpus, clock=lambda: now[0])
    usage = meter.advance(3)
    for seconds, num_running in steps:
        now[0] += seconds
        usage = meter.advance(num_running)
    assert usage.wall_s == pytest.approx(5.0 + sum(seconds for seconds, _ in steps))
    assert usage.gpu_s == pytest.approx(7.0 + gpus * sum(seconds * number for seconds, number in steps))


def test_a_clock_that_goes_back_takes_nothing_away():
    now = [50.0]
    meter = UsageMeter(Usage(), gpus_per_trial=0.0, clock=lambda: now[0])
    now[0] = 40.0
    assert meter.advance(1) == Usage()


def test_the_time_of_a_killed_driver_is_kept_but_for_its_last_trials(tmp_path):
    clock = Clock()
    config = tabulated.experiment(tmp_path, pruner="none", sampler="random")
    tabulated.run(tabulated.make_driver(config, clock=clock), max_reports=21, report=clock.report)  # never finished
    ended = [t for t in read_study(tmp_path / "toy").trials if t.state.is_finished]
    assert ended
    assert 210.0 - 2 * 4 * EPOCH_S <= read_study(tmp_path / "toy").usage.wall_s <= 210.0


def test_a_session_with_nothing_to_do_takes_none_of_the_searchs_time(tmp_path):
    _, study = _searched(tmp_path)
    assert study.end.cause is EndCause.TRIALS
    ticks = count(5000)
    idle = tabulated.make_driver(tabulated.experiment(tmp_path, sampler="random"), clock=lambda: float(next(ticks)))
    assert idle.is_finished
    idle.finish()
    again = read_study(tmp_path / "toy")
    assert (again.usage, again.end, again.trials) == (study.usage, study.end, study.trials)


def test_a_rule_that_holds_while_trials_run_says_stop_or_waits(tmp_path):
    clock = Clock()
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, max_wall_time_s=5.0), clock=clock)
    trial = driver.suggest()
    assert isinstance(trial, TrialRecord)
    assert driver.on_result(trial.number, clock.report(trial, 1)) is Decision.STOP
    assert driver.suggest() is Idle.FINISHED
    driver.on_complete(trial.number)  # Tune ends a trial that was told to stop: it is not lost
    driver.finish()
    assert read_study(tmp_path / "toy").trials[0].reason == INTERRUPTED


def test_a_search_that_was_stopped_or_failed_says_so(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, sampler="random"))
    tabulated.run(driver, max_reports=3)
    driver.stop()
    driver.finish()
    end = read_study(tmp_path / "toy").end
    assert (end.cause, end.reason, end.is_final) == (EndCause.STOPPED, "stopped on request", False)
    tabulated.make_driver(tabulated.experiment(tmp_path, sampler="random"))
    assert read_study(tmp_path / "toy").end is None  # it runs


def test_every_view_says_why_it_ended(tmp_path):
    _, study = _searched(tmp_path, num_trials=40, max_wall_time_s=65.0)
    text = status.summary_text(summarise(study), is_running=False)
    assert "ended     search.max_wall_time_s = 65 is used up" in text
    assert "time      1 min 10 s of searching" in text
    assert "resume" not in text
    assert "extend toy --trials +N, or launch with another value of the key above" in text
    assert "* ended: search.max_wall_time_s = 65 is used up" in study_note(study)
    tags = search_ended(study, note="", artifacts=(), now_ms=0).tags
    assert (tags["spvit.end"], tags["spvit.wall_time_s"]) == ("wall_time", "70")
    assert tags["spvit.end_reason"] == study.end.reason
