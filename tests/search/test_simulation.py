"""Searches replayed on recorded trials: whole ones, through the production's driver, proposer, samplers and pruners."""

import heapq
import json
import random
from itertools import pairwise

import pytest
from recorded_study import EPOCHS, recorded_study

from search.budget import LatencyBudget
from search.cli import run
from search.comparison import Arm, Scale, Trace
from search.pareto import ParetoPoint, hypervolume
from search.records import TrialState
from search.search_config import PrunerName, SamplerName
from search.simulation import Replay, simulate
from spvit.errors import ExitCode, NothingFeasibleError


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return recorded_study(tmp_path_factory.mktemp("recorded"), num_trials=24)


@pytest.fixture(scope="module")
def replay(recorded):
    return Replay(recorded)


# Optuna's Gaussian process, fitted for seconds, is moved to recorded configurations by the same lines as TPE is.
ALL = [name for name in SamplerName if name is not SamplerName.GP]
TWO = [SamplerName.RANDOM, SamplerName.KNOWN_LATENCY]


@pytest.mark.parametrize("sampler", ALL)
def test_a_whole_search_tries_each_configuration_once(replay, recorded, sampler):
    search = replay.search(sampler=sampler, pruner=PrunerName.MEDIAN, seed=2, num_workers=3)
    assert sorted(trial.recorded_number for trial in search.trials) == [trial.number for trial in recorded.trials]
    assert {trial.state for trial in search.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("sampler", TWO)
def test_nothing_over_the_budget_is_tried_and_everything_within_it_is(recorded, sampler):
    budget = LatencyBudget(max_ms=sorted(trial.latency.high_ms for trial in recorded.trials)[8], source="a test")
    cheap = [trial for trial in recorded.trials if trial.latency.high_ms <= budget.max_ms]
    search = simulate(recorded, sampler=sampler, pruner=PrunerName.NONE, seed=1, num_workers=2, budget=budget)
    assert {trial.recorded_number for trial in search.trials} == {trial.number for trial in cheap}
    assert all(trial.latency_ms <= budget.max_ms for trial in search.trials)


@pytest.mark.parametrize("sampler", TWO)
def test_a_search_is_a_function_of_its_seed(replay, recorded, sampler):
    arguments = {"sampler": sampler, "pruner": PrunerName.MEDIAN, "num_trials": 8, "num_workers": 3}
    once = replay.search(seed=4, **arguments)
    assert Replay(recorded).search(seed=4, **arguments) == once
    assert replay.search(seed=5, **arguments) != once


def test_with_one_worker_trials_follow_each_other_and_times_add_up(replay, recorded):
    search = replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.MEDIAN, seed=0)
    by_number = {trial.number: trial for trial in recorded.trials}
    now_s, num_epochs = 0.0, 0
    for trial in search.trials:
        original = by_number[trial.recorded_number]
        assert trial.started_s == now_s
        for seconds in original.epoch_s[: trial.num_epochs]:
            now_s += seconds
        num_epochs += trial.num_epochs
        assert (trial.ended_s, trial.num_epochs_so_far) == (now_s, num_epochs)
        assert trial.top1 in {None, original.top1}
    assert [trial.number for trial in search.trials] == list(range(len(recorded.trials)))
    assert any(trial.state is TrialState.PRUNED for trial in search.trials)
    assert (search.seconds, search.num_epochs) == (now_s, num_epochs)


def test_several_workers_are_a_list_schedule_of_the_same_trials(replay, recorded):
    """Without a pruner times follow from the order of proposals alone: each goes to the worker that is free first."""
    search = replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.NONE, seed=0, num_workers=3)
    by_number = {trial.number: trial for trial in recorded.trials}
    free = [0.0] * 3
    for trial in sorted(search.trials, key=lambda trial: trial.number):
        started_s = heapq.heappop(free)
        assert trial.started_s == pytest.approx(started_s)
        assert trial.ended_s == pytest.approx(started_s + sum(by_number[trial.recorded_number].epoch_s))
        heapq.heappush(free, trial.ended_s)
    assert all(before.ended_s <= after.ended_s for before, after in pairwise(search.trials))
    assert search.num_epochs == EPOCHS * len(recorded.trials)


def test_a_random_search_without_a_pruner_proposes_the_same_however_many_run_at_once(replay):
    def order(num_workers):
        search = replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.NONE, seed=3, num_workers=num_workers)
        return {trial.number: trial.recorded_number for trial in search.trials}

    assert order(1) == order(4)


def test_the_sampler_that_knows_latency_chooses_among_the_recorded_configurations(replay, monkeypatch):
    """Nothing that it proposes has to be moved."""
    distances = []
    original = type(replay._parameters).distances

    def noted(self, params):
        result = original(self, params)
        distances.append(result.min())
        return result

    monkeypatch.setattr(type(replay._parameters), "distances", noted)
    replay.search(sampler=SamplerName.KNOWN_LATENCY, pruner=PrunerName.NONE, seed=0, num_trials=12)
    assert len(distances) >= 12 - 1
    assert max(distances) == 0.0


def test_a_configuration_that_repeats_another_is_left_out(tmp_path, recorded):
    first = recorded.trials[0]
    again = type(first)(**{name: getattr(first, name) for name in first.__slots__} | {"number": 99})
    twice = type(recorded)(
        **{name: getattr(recorded, name) for name in recorded.__slots__} | {"trials": (*recorded.trials, again)}
    )
    assert Replay(twice).num_recorded == len(recorded.trials)


def test_a_budget_below_everything_is_refused_with_the_cheapest(recorded, tmp_path, capsys):
    cheapest = min(trial.latency.high_ms for trial in recorded.trials)
    with pytest.raises(NothingFeasibleError, match=f"at most {cheapest:.3f} ms"):
        Replay(recorded, LatencyBudget(max_ms=0.1, source="a test"))
    recorded.save(tmp_path / "table.parquet")
    arguments = ["simulate", "--on", str(tmp_path / "table.parquet"), "--max-latency-ms", "0.1"]
    assert run(arguments) == ExitCode.NOTHING_FEASIBLE
    assert run([*arguments, "--max-latency-share", "0.5"]) == ExitCode.USAGE
    assert "not both" in capsys.readouterr().err


def test_a_trace_is_what_the_hypervolume_of_its_points_says(replay):
    scale = Scale.of(replay.feasible, replay.budget.max_ms)
    search = replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.MEDIAN, seed=1, num_workers=2)
    trace = Trace.of(search, scale)
    for num_epochs in random.Random(0).sample(range(search.num_epochs + 10), 20):
        points = [
            ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency_ms)
            for trial in search.trials
            if trial.top1 is not None and trial.num_epochs_so_far <= num_epochs
        ]
        area = hypervolume(points, min_top1=scale.min_top1, max_latency_ms=scale.max_latency_ms)
        assert trace.share_at(num_epochs) == pytest.approx(area / scale.full)
    share = trace.share_at(search.num_epochs // 2)
    assert trace.share_at(int(trace.epochs_to(share))) >= share > trace.share_at(int(trace.epochs_to(share)) - 1)
    assert trace.epochs_to(1.01) == trace.hours_to(1.01) == float("inf")


def test_everything_trained_is_the_full_hypervolume_and_costs_as_much_as_itself(replay):
    scale = Scale.of(replay.feasible, replay.budget.max_ms)
    searches = [replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.NONE, seed=seed) for seed in range(3)]
    traces = tuple(Trace.of(search, scale) for search in searches)
    arm = Arm(sampler=SamplerName.RANDOM, pruner=PrunerName.NONE, traces=traces)
    assert all(trace.share_at(trace.num_epochs) == pytest.approx(1.0) for trace in traces)
    assert arm.mean_epochs == EPOCHS * replay.num_recorded
    assert (arm.num_reached(0.9), arm.saving_over(arm, 0.9)) == (3, 1.0)


def test_the_command_compares_every_sampler_with_every_pruner(recorded, tmp_path, capsys):
    recorded.save(tmp_path / "table.parquet")
    arguments = ["simulate", "--on", str(tmp_path / "table.parquet"), "--seeds", "2", "--trials", "10"]
    arguments += ["--sampler", "random", "--sampler", "tpe", "--pruner", "none", "--pruner", "median"]
    assert run([*arguments, "--json"]) == ExitCode.OK
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [(arm["sampler"], arm["pruner"]) for arm in document["arms"]] == [
        ("random", "none"), ("random", "median"), ("tpe", "none"), ("tpe", "median"),
    ]  # fmt: skip
    assert document["arms"][0]["mean_epochs"] == 10 * EPOCHS
    assert "simulating" in captured.err
    assert run([*arguments[:4], "1", "--sampler", "random"]) == ExitCode.OK
    assert "after 10" in capsys.readouterr().out
