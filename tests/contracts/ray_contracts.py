"""What Ray Tune may expect of a searcher and of a scheduler. Inherit, and say how to make yours."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tabulated
from ray import cloudpickle
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search.driver import Failure, ReportKey, SearchDriver
from search.ray_border import TrialTask
from search.records import StudyRecord, TrialState
from search.scheduler import DriverScheduler
from search.searcher import DriverSearcher
from search.study import read_study

ENDED = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
NO_CONTROLLER: Any = None
"""The driver's hooks need no controller of Tune's."""


class Tune:
    """As much of Tune's loop as calls searchers and schedulers, in the order in which Tune calls them."""

    def __init__(self, searcher: Searcher, scheduler: TrialScheduler) -> None:
        self.searcher, self.scheduler = searcher, scheduler
        self.running: dict[str, Trial] = {}
        self.epochs: dict[str, int] = {}
        self._num_asked = 0

    def start_one(self) -> Trial | None:
        """Asks for a trial; None if there is none to start now."""
        self._num_asked += 1
        trial_id = f"t{self._num_asked}"
        config = self.searcher.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            return None
        trial = Trial("stub", config=config, trial_id=trial_id, stub=True)
        self.scheduler.on_trial_add(NO_CONTROLLER, trial)
        self.running[trial_id] = trial
        self.epochs[trial_id] = TrialTask.from_ray(config).num_known_epochs
        return trial

    def report(self, trial: Trial, result: dict[str, Any] | None = None) -> str:
        """One result of a trial; the scheduler's answer, which is acted on."""
        if result is None:
            self.epochs[trial.trial_id] += 1
            result = self._next(trial)
        answer = self.scheduler.on_trial_result(NO_CONTROLLER, trial, result)
        if answer == TrialScheduler.STOP:
            self.complete(trial, result)
        else:
            self.searcher.on_trial_result(trial.trial_id, result)
        return answer

    def complete(self, trial: Trial, result: dict[str, Any] | None = None) -> None:
        self.scheduler.on_trial_complete(NO_CONTROLLER, trial, result or {})
        self.searcher.on_trial_complete(trial.trial_id, result=result)
        self.running.pop(trial.trial_id, None)

    def lose(self, trial: Trial) -> None:
        """Its worker died for good."""
        self.scheduler.on_trial_error(NO_CONTROLLER, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)
        self.running.pop(trial.trial_id, None)

    def run(self, *, max_reports: int = 10**6) -> None:
        """To the end, the running trials taking turns."""
        for _ in range(max_reports):
            while self.start_one() is not None:
                pass
            if not self.running:
                return
            trial = next(iter(self.running.values()))
            self.running[trial.trial_id] = self.running.pop(trial.trial_id)
            self.report(trial)

    def _next(self, trial: Trial) -> dict[str, Any]:
        epoch, ratio = self.epochs[trial.trial_id], TrialTask.from_ray(trial.config).config.losses.ratio
        return tabulated.metrics(epoch, math.nan if ratio > 2.0 else 60 + 2 * epoch - ratio)


class Contract:
    """One search on a few tabulated trials, anew for every test; `restart` is what a new process would make of it."""

    num_trials = 6

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_searcher(self, driver: SearchDriver) -> Searcher:
        return DriverSearcher(driver)

    def make_scheduler(self, driver: SearchDriver) -> TrialScheduler:
        return DriverScheduler(driver)

    def restart(self) -> Tune:
        config = tabulated.experiment(self.folder, num_trials=self.num_trials, sampler="random")
        self.driver = tabulated.make_driver(config)
        return Tune(self.make_searcher(self.driver), self.make_scheduler(self.driver))

    def study(self) -> StudyRecord:
        return read_study(self.folder / "toy")

    @pytest.fixture
    def tune(self) -> Tune:
        return self.restart()

    def check_whole(self) -> None:
        trials = self.study().trials
        assert {trial.state for trial in trials} <= ENDED
        assert sum(trial.state is not TrialState.FAIL for trial in trials) == self.num_trials + 1

    def test_a_whole_search_ends_every_trial_exactly(self, tune):
        tune.run()
        self.check_whole()
        for trial in self.study().trials:
            diverges = trial.config["losses"]["ratio"] > 2.0
            assert (trial.state is TrialState.PRUNED and trial.reason.startswith("diverged")) is diverges

    def test_a_restart_goes_on_where_the_study_is(self, tune):
        tune.run(max_reports=7)  # then killed: nobody is told
        before = {trial.number: trial for trial in self.study().trials}
        again = self.restart()
        again.run()
        self.check_whole()
        after = self.study().trials
        for number, trial in before.items():
            if trial.state.is_finished:
                assert after[number] == trial
            else:
                assert after[number].state is TrialState.FAIL
                (retry,) = [other for other in after if other.retry_of == number]
                assert retry.curve[: trial.num_epochs] == trial.curve

    def check_unchanged(self, action: Callable[[], object]) -> None:
        before = self.study()
        action()
        assert self.study() == before

    def states(self) -> Iterator[tuple[int, TrialState]]:
        return ((trial.number, trial.state) for trial in self.study().trials)


def copies_of(thing: Any) -> list[Any]:
    """As Tune and Ray make them."""
    dumped = cloudpickle.dumps(thing)
    assert len(dumped) < 2000  # the driver, its study and its listeners stay here
    return [pickle.loads(dumped), deepcopy(thing)]  # noqa: S301 - made in the line above


class SearcherContract(Contract):
    """Of `ray.tune.search.Searcher`."""

    def test_it_is_of_rays_own_type(self, tune):
        assert isinstance(tune.searcher, Searcher)

    def test_suggestions_are_new_trials_then_patience_then_the_end(self, tune):
        first, second = tune.start_one(), tune.start_one()
        assert TrialTask.from_ray(first.config).number != TrialTask.from_ray(second.config).number
        assert tune.searcher.suggest("later") is None  # two run at a time
        tune.run()
        assert tune.searcher.suggest("more") == Searcher.FINISHED
        assert tune.searcher.suggest("still more") == Searcher.FINISHED

    def test_a_suggestion_tells_a_worker_everything(self, tune):
        trial = tune.start_one()
        task, record = TrialTask.from_ray(pickle.loads(pickle.dumps(trial.config))), self.study().trials[0]  # noqa: S301
        assert task.config.to_dict() == record.config
        assert (task.number, task.num_known_epochs) == (record.number, 0)
        assert task.to_ray() == trial.config

    def test_unknown_trial_ids_change_nothing(self, tune):
        tune.start_one()
        self.check_unchanged(lambda: tune.searcher.on_trial_result("unknown", tabulated.metrics(1, 50.0)))
        self.check_unchanged(lambda: tune.searcher.on_trial_complete("unknown", result=tabulated.metrics(1, 50.0)))
        self.check_unchanged(lambda: tune.searcher.on_trial_complete("unknown", error=True))
        tune.run()
        self.check_whole()

    def test_results_after_the_end_change_nothing(self, tune):
        trial = tune.start_one()
        while tune.report(trial) == TrialScheduler.CONTINUE:
            pass
        self.check_unchanged(lambda: tune.searcher.on_trial_result(trial.trial_id, tabulated.metrics(9, 99.0)))
        self.check_unchanged(lambda: tune.searcher.on_trial_complete(trial.trial_id, result=None))
        self.check_unchanged(lambda: tune.searcher.on_trial_complete(trial.trial_id, error=True))

    def test_a_trial_that_falls_silent_is_run_again(self, tune):
        trial = tune.start_one()
        tune.report(trial)
        tune.complete(trial)
        (record,) = self.study().trials
        assert record.state is TrialState.FAIL
        assert "without a reason" in record.reason
        assert TrialTask.from_ray(tune.start_one().config).num_known_epochs == 1

    def test_copies_are_small_and_start_nothing(self, tune):
        tune.start_one()
        for copy in copies_of(tune.searcher):
            assert type(copy) is type(tune.searcher)
        tune.run()
        self.check_whole()

    def test_what_it_saves_it_restores_without_going_back(self, tune):
        tune.run(max_reports=5)
        tune.searcher.save(str(self.folder / "searcher.pkl"))
        tune.searcher.save_to_dir(str(self.folder), session_str="now")
        tune.run(max_reports=4)
        if (self.folder / "searcher.pkl").exists():  # else it has no state of its own
            self.check_unchanged(lambda: tune.searcher.restore(str(self.folder / "searcher.pkl")))
        tune.run()
        self.check_whole()

    def test_it_takes_no_metric_and_no_space_of_tunes(self, tune):
        assert not tune.searcher.set_search_properties("loss", "min", {"lr": [1, 2]})


class SchedulerContract(Contract):
    """Of `ray.tune.schedulers.TrialScheduler`."""

    def test_it_is_of_rays_own_type_and_wants_every_result_at_once(self, tune):
        assert isinstance(tune.scheduler, TrialScheduler)
        assert not tune.scheduler.supports_buffered_results
        assert tune.scheduler.debug_string()

    def test_a_trial_goes_on_until_its_last_epoch(self, tune):
        trial = tune.start_one()  # the fixed schedule, which nothing stops early
        answers = [tune.report(trial) for _ in range(4)]
        assert answers == [TrialScheduler.CONTINUE] * 3 + [TrialScheduler.STOP]
        assert list(self.states()) == [(0, TrialState.COMPLETE)]

    @pytest.mark.parametrize(
        ("result", "state"),
        [
            (tabulated.metrics(1, math.nan), TrialState.PRUNED),
            ({ReportKey.FAILURE: Failure.CONFIGURATION.value, ReportKey.REASON: "cannot be"}, TrialState.PRUNED),
            ({ReportKey.FAILURE: Failure.INFRASTRUCTURE.value, ReportKey.REASON: "disk full"}, TrialState.FAIL),
        ],
    )
    def test_a_trial_that_cannot_go_on_is_stopped_with_a_reason(self, tune, result, state):
        trial = tune.start_one()
        assert tune.report(trial, result) == TrialScheduler.STOP
        (record,) = self.study().trials
        assert (record.state, bool(record.reason)) == (state, True)

    def test_a_lost_trial_is_failed_and_run_again(self, tune):
        tune.lose(tune.start_one())
        (record,) = self.study().trials
        assert record.state is TrialState.FAIL
        assert "its worker process died" in record.reason
        tune.run()
        self.check_whole()

    def test_trials_that_are_not_of_the_study_are_stopped_and_change_nothing(self, tune):
        tune.start_one()
        task = TrialTask.from_ray(tune.running["t1"].config)
        unknown = Trial("stub", config=replace(task, number=77).to_ray(), stub=True)
        foreign = Trial("stub", config={"lr": 0.1}, stub=True)
        for trial in (unknown, foreign):
            tune.scheduler.on_trial_add(NO_CONTROLLER, trial)
            assert tune.scheduler.on_trial_result(NO_CONTROLLER, trial, tabulated.metrics(1, 50.0)) == "STOP"
            self.check_unchanged(lambda trial=trial: tune.scheduler.on_trial_error(NO_CONTROLLER, trial))
            self.check_unchanged(lambda trial=trial: tune.scheduler.on_trial_complete(NO_CONTROLLER, trial, {}))
            self.check_unchanged(lambda trial=trial: tune.scheduler.on_trial_remove(NO_CONTROLLER, trial))
        tune.run()
        self.check_whole()

    def test_results_after_the_end_are_answered_with_stop(self, tune):
        trial = tune.start_one()
        while tune.report(trial) == TrialScheduler.CONTINUE:
            pass
        before = self.study()
        for late in (tabulated.metrics(9, 99.0), tabulated.metrics(1, math.nan)):
            assert tune.scheduler.on_trial_result(NO_CONTROLLER, trial, late) == TrialScheduler.STOP
        tune.scheduler.on_trial_error(NO_CONTROLLER, trial)
        assert self.study() == before

    def test_copies_are_small_and_the_original_goes_on(self, tune):
        trial = tune.start_one()
        for copy in copies_of(tune.scheduler):
            assert type(copy) is type(tune.scheduler)
        assert tune.report(trial) == TrialScheduler.CONTINUE

    def test_a_stopping_search_stops_every_trial_at_its_next_report(self, tune):
        trial = tune.start_one()
        self.driver.stop()
        assert tune.report(trial) == TrialScheduler.STOP
        assert tune.start_one() is None
