import math
import re
import sqlite3

import optuna
import pytest
import tabulated

from search.driver import Decision, Failure, Idle, ReportKey
from search.listener import StudyListener
from search.records import Origin, TrialState
from search.retries import BUDGETS, FIRST_DELAY_S, INTERRUPTED
from search.study import read_study
from search.study_files import trial_directory
from spvit.errors import NothingFeasibleError, StorageError, TooManyFailuresError
from trainers.build import identity_of
from trainers.config import TrialConfig

pytestmark = pytest.mark.usefixtures("few_candidates")


def _failed(failure, reason="broken"):
    return {ReportKey.FAILURE: failure.value, ReportKey.REASON: reason}


def test_a_search_holds_exactly_the_trials_asked_for_and_one_baseline(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_trials=12))
    tabulated.run(driver)
    driver.finish()
    study = read_study(tmp_path / "toy")
    assert driver.is_finished
    assert "rejections" in optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/toy/study.db").user_attrs
    assert [t.origin for t in study.trials] == [Origin.BASELINE] + [Origin.WARM_START] * 3 + [Origin.SAMPLER] * 9
    assert all(t.state in {TrialState.COMPLETE, TrialState.PRUNED} for t in study.trials)
    assert all(t.latency.high_ms <= study.max_latency_ms for t in study.trials if t.origin is not Origin.BASELINE)
    assert all(t.top1 == t.curve[-1] and t.num_epochs == 4 for t in study.finished)
    assert all(t.reason and t.num_epochs < 4 for t in study.trials if t.state is TrialState.PRUNED)


@pytest.mark.parametrize("num_reports", [0, 3, 11, 25])
def test_a_killed_search_goes_on_without_losing_or_repeating_what_was_finished(tmp_path, num_reports):
    config = tabulated.experiment(tmp_path)
    tabulated.run(tabulated.make_driver(config), max_reports=num_reports)  # killed: finish() is never called
    before = read_study(tmp_path / "toy")
    driver = tabulated.make_driver(config)
    tabulated.run(driver)
    driver.finish()
    after = read_study(tmp_path / "toy")
    finished = {t.number: t for t in before.trials if t.state.is_finished}
    assert {n: after.trials[n] for n in finished} == finished
    interrupted = [t for t in after.trials if t.state is TrialState.FAIL]
    assert [t.number for t in interrupted] == [t.number for t in before.trials if not t.state.is_finished]
    assert [t.retry_of for t in after.trials if t.retry_of is not None] == [t.number for t in interrupted]
    for trial in interrupted:
        retry = next(t for t in after.trials if t.retry_of == trial.number)
        assert retry.curve[: trial.num_epochs] == trial.curve
        assert trial_directory(tmp_path, retry) == trial_directory(tmp_path, trial)
    ended = {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(t.state in ended and t.origin is not Origin.BASELINE for t in after.trials) == 8


def test_a_stopped_search_leaves_nothing_running(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path))
    tabulated.run(driver, max_reports=5)
    driver.stop()
    assert driver.suggest() is Idle.FINISHED
    driver.finish()
    assert {t.reason for t in read_study(tmp_path / "toy").trials if t.state is TrialState.FAIL} == {INTERRUPTED}
    assert not driver.is_finished


@pytest.mark.parametrize(
    "report", [tabulated.metrics(1, math.nan), tabulated.metrics(1, math.inf), _failed(Failure.CONFIGURATION)]
)
def test_what_a_configuration_does_to_itself_is_pruned_with_a_reason(tmp_path, report):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path))
    trial = driver.suggest()
    assert driver.on_result(trial.number, report) is Decision.STOP
    (stored,) = read_study(tmp_path / "toy").trials
    assert stored.state is TrialState.PRUNED
    assert stored.reason


def test_a_trial_that_cannot_reach_the_front_is_pruned_with_the_numbers_that_say_so(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=24, pruner="pareto")
    tabulated.run(tabulated.make_driver(config))
    pruned = [trial for trial in read_study(tmp_path / "toy").trials if trial.state is TrialState.PRUNED]
    sentence = (
        r"at epoch [23]: 99 % upper bound [\d.]+ % at [\d.]+ ms lies under trial (\d+), ([\d.]+) % at ([\d.]+) ms"
    )
    said = [re.fullmatch(sentence, trial.reason) for trial in pruned]
    assert said
    assert all(said)
    trials = read_study(tmp_path / "toy").trials
    for trial, match in zip(pruned, said, strict=True):
        rival = trials[int(match[1])]
        assert rival.state is TrialState.COMPLETE
        assert rival.latency.mean_ms <= trial.latency.mean_ms
        assert (rival.top1, rival.latency.mean_ms) == pytest.approx((float(match[2]), float(match[3])), abs=0.051)


def test_a_lost_trial_is_run_again_but_not_for_ever(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_concurrent=1, max_failed_share=1.0))
    attempts = [driver.suggest() for _ in range(1)]
    num_retries = BUDGETS[Failure.INFRASTRUCTURE].max_retries
    for _ in range(num_retries + 1):
        driver.on_error(attempts[-1].number, "node died")
        attempts.append(driver.suggest())
    assert [t.retry_of for t in attempts] == [None, *[0] * num_retries, None]
    assert attempts[1].origin is Origin.BASELINE
    assert attempts[-1].origin is Origin.WARM_START


def test_a_trial_out_of_memory_is_run_once_more_with_half_as_many_images_at_once(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_concurrent=1, max_failed_share=1.0))
    first = driver.suggest()
    driver.on_result(first.number, tabulated.metrics(1, 61.0))
    driver.on_result(first.number, _failed(Failure.OUT_OF_MEMORY, "CUDA out of memory"))
    again = driver.suggest()
    assert (again.retry_of, again.curve) == (first.number, (61.0,))
    training = first.config["training"]
    assert again.config["training"] == training | {"micro_batch_size": training["batch_size"] // 2}
    assert identity_of(TrialConfig.model_validate(again.config)) == identity_of(
        TrialConfig.model_validate(first.config)
    )  # so it goes on from its checkpoint
    driver.on_result(again.number, _failed(Failure.OUT_OF_MEMORY, "CUDA out of memory"))
    assert driver.suggest().retry_of is None
    states = [(t.state, t.failure) for t in read_study(tmp_path / "toy").trials[:2]]
    assert states == [(TrialState.FAIL, Failure.OUT_OF_MEMORY), (TrialState.PRUNED, Failure.OUT_OF_MEMORY)]


def test_a_trial_that_lost_its_node_waits_longer_each_time_and_never_ends_the_search(tmp_path):
    now_s = 0.0
    config = tabulated.experiment(tmp_path, num_trials=1, num_concurrent=1, warm_starts=False)
    driver = tabulated.make_driver(config, clock=lambda: now_s)
    tabulated.run(driver, max_reports=4)  # the fixed schedule
    trial = read_study(tmp_path / "toy").trials[1]
    for lost in range(6):
        driver.on_error(trial.number, "gone", Failure.NODE_LOST)
        now_s += FIRST_DELAY_S * 2**lost - 1
        assert driver.suggest() is Idle.WAIT
        assert not driver.is_finished
        now_s += 1
        trial = driver.suggest()
        assert trial.origin is Origin.RETRY
    for epoch in range(1, 5):
        driver.on_result(trial.number, tabulated.metrics(epoch, 60.0 + epoch))
    assert driver.is_finished
    assert driver.error is None


def test_a_disk_that_fails_a_trial_ends_the_search_which_goes_on_when_there_is_space(tmp_path):
    config = tabulated.experiment(tmp_path)
    driver = tabulated.make_driver(config)
    first, second = driver.suggest(), driver.suggest()
    driver.on_result(first.number, tabulated.metrics(1, 61.0))
    assert driver.on_result(first.number, _failed(Failure.STORAGE, "No space left on device")) is Decision.STOP
    driver.on_error(second.number, "its process died")
    assert driver.suggest() is Idle.FINISHED
    driver.finish()
    with pytest.raises(StorageError, match=r"trial 0 cannot write: No space left on device.*spvit-search resume toy"):
        raise driver.error
    failures = [(t.state, t.failure) for t in read_study(tmp_path / "toy").trials]
    assert failures == [(TrialState.FAIL, Failure.STORAGE), (TrialState.FAIL, Failure.INTERRUPTED)]
    again = tabulated.make_driver(config)
    assert [again.suggest().retry_of, again.suggest().retry_of] == [0, 1]


def test_a_silent_trial_is_stuck_from_when_its_worker_runs(tmp_path):
    now_s = 0.0
    config = tabulated.experiment(tmp_path, stuck_factor=3, stuck_floor_s=10)
    driver = tabulated.make_driver(config, clock=lambda: now_s)
    running, waiting = driver.suggest().number, driver.suggest().number
    driver.on_running(running)
    now_s += 20.0
    driver.on_result(running, tabulated.metrics(1, 61.0))  # the slowest epoch seen: 20 s
    now_s += 60.0
    assert driver.stuck() == ()
    now_s += 1.0
    (stuck,) = driver.stuck()
    assert stuck.number == running
    assert "no report for 61 s, more than the 60 s that search.stuck_factor = 3" in stuck.reason
    driver.on_error(running, stuck.reason)
    driver.on_running(running)  # said too late
    now_s += 1000.0
    assert driver.stuck() == ()
    assert driver.knows(waiting)


def test_a_lost_report_of_a_restarted_worker_is_taken_once(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path))
    number = driver.suggest().number
    for epoch in (1, 2, 1, 2, 3):
        driver.on_result(number, tabulated.metrics(epoch, 60 + epoch))
    assert read_study(tmp_path / "toy").trials[number].curve == (61, 62, 63)


def test_a_search_in_which_most_trials_fail_ends(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_trials=40))
    tabulated.run(driver, report=lambda trial, epoch: _failed(Failure.CONFIGURATION, "no such data"))
    assert isinstance(driver.error, TooManyFailuresError)
    table = r"  6 x configuration, first trial 1: no such data\n"
    with pytest.raises(
        TooManyFailuresError, match=r"6 of 6 trials failed, .*max_failed_share = 0\.5 allows:\n" + table
    ):
        raise driver.error


def test_a_short_search_of_which_nothing_came_to_its_end_says_why(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_trials=2))
    tabulated.run(driver, report=lambda trial, epoch: _failed(Failure.CONFIGURATION, "no such data"))
    driver.finish()
    with pytest.raises(TooManyFailuresError, match=r"no trial came to its end, [23] failed:\n  [23] x configuration"):
        raise driver.error


def test_a_short_search_with_one_model_ends_in_order(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_trials=2))
    good = tabulated.metrics
    tabulated.run(
        driver,
        report=lambda trial, epoch: good(epoch, 70.0) if trial.number == 1 else _failed(Failure.CONFIGURATION, "no"),
    )
    driver.finish()
    assert driver.error is None


def test_a_budget_that_draws_never_meet_ends_the_search_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("search.proposer.NUM_RANDOM_DRAWS", 10)
    config = tabulated.experiment(tmp_path)
    latency = config.latency.model_copy(update={"max_latency_share": 0.2})
    driver = tabulated.make_driver(config.model_copy(update={"latency": latency}))
    tabulated.run(driver)
    assert isinstance(driver.error, NothingFeasibleError)
    assert "raise latency.max_latency_ms" in str(driver.error)
    assert read_study(tmp_path / "toy").rejections == {"too_slow": 74}


def test_a_listener_that_fails_does_not_stop_the_search_and_hears_things_in_order(tmp_path):
    class Broken(StudyListener):
        def __init__(self):
            self.heard = []

        def on_trial_start(self, trial):
            self.heard.append(("start", trial.number))

        def on_epoch(self, trial, metrics):
            self.heard.append((trial.num_epochs, trial.number))
            raise RuntimeError("broken")

        def on_trial_end(self, trial):
            self.heard.append((str(trial.state), trial.number))

    listener = Broken()
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_trials=1, num_concurrent=1), listeners=[listener])
    tabulated.run(driver)
    assert [what for what, number in listener.heard if number == 0] == ["start", 1, 2, 3, 4, "COMPLETE"]
    assert driver.is_finished


def test_a_workers_warning_is_told_once_however_many_trials_report_it(tmp_path, caplog):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path, num_trials=3))
    warned = {ReportKey.WARNINGS: ["Damaged image left out: 07.jpg"]}
    tabulated.run(driver, report=lambda trial, epoch: tabulated.metrics(epoch, 50.0) | warned)
    assert caplog.messages.count("Damaged image left out: 07.jpg") == 1


def test_a_storage_that_breaks_ends_the_search_with_its_own_error(tmp_path):
    driver = tabulated.make_driver(tabulated.experiment(tmp_path))
    first, second = driver.suggest().number, driver.suggest().number
    with sqlite3.connect(tmp_path / "toy" / "study.db") as database:
        database.execute("DROP TABLE trial_user_attributes")
    assert driver.on_result(first, tabulated.metrics(1, 60.0)) is Decision.STOP
    assert isinstance(driver.error, StorageError)
    driver.on_complete(first)
    driver.on_error(second, "gone")
    assert driver.suggest() is Idle.FINISHED
    with pytest.raises(StorageError, match="spvit-search resume toy"):
        driver.finish()
