from dataclasses import replace

import pytest
import tabulated

from search.config import SamplerName
from search.records import Rejection, TrialState
from search.sampler import draw_seed


def _ended(store, proposer, number):
    store.start(proposer.propose(number))
    record = store.complete(number, 60 + store.trial(number).latency.mean_ms)
    proposer.end(record)
    return record


@pytest.mark.parametrize("sampler", [SamplerName.TPE, SamplerName.RANDOM, SamplerName.KNOWN_LATENCY])
def test_a_proposer_rebuilt_from_the_study_proposes_the_same(tmp_path, sampler):
    config = tabulated.experiment(tmp_path, sampler=sampler)
    store, proposer = tabulated.make_store(config), tabulated.make_proposer(config)
    for number in range(7):
        _ended(store, proposer, number)
    rebuilt = tabulated.make_proposer(config)
    rebuilt.restore(store.trials, proposer.rejections)
    assert rebuilt.propose(7) == proposer.propose(7)
    assert rebuilt.rejections == proposer.rejections


@pytest.mark.parametrize("sampler", list(SamplerName))
def test_every_sampler_proposes_new_trials_within_the_budget(tmp_path, sampler):
    config = tabulated.experiment(tmp_path, sampler=sampler, num_startup_trials=2)
    store, proposer = tabulated.make_store(config), tabulated.make_proposer(config)
    records = [_ended(store, proposer, number) for number in range(4)]
    assert len({str(record.params) for record in records}) == 4
    assert all(record.latency.high_ms <= store.record().max_latency_ms for record in records)


def test_a_space_that_is_used_up_ends_without_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("search.proposer.NUM_RANDOM_DRAWS", 20)
    space = {"losses": {"ratio": {"choices": [1.0, 2.0]}}}
    proposer = tabulated.make_proposer(tabulated.experiment(tmp_path, space=space))
    assert {proposer.propose(n).params["ratio"] for n in range(2)} == {1.0, 2.0}
    assert proposer.propose(2) is None
    assert proposer.rejections[Rejection.DUPLICATE] >= 84


def test_the_baseline_is_the_files_own_schedule(tmp_path):
    proposer = tabulated.make_proposer(tabulated.experiment(tmp_path))
    assert proposer.baseline().label == "fixed [.7, .49, .343]"
    assert proposer.baseline().params == {}


def test_failed_trials_and_baselines_are_kept_from_the_sampler(tmp_path):
    config = tabulated.experiment(tmp_path)
    store, proposer = tabulated.make_store(config), tabulated.make_proposer(config)
    record = _ended(store, proposer, 0)
    plain, other = tabulated.make_proposer(config), tabulated.make_proposer(config)
    plain.add(record)
    other.add(record)
    other.add(replace(record, number=1, state=TrialState.FAIL, top1=None))
    other.add(replace(record, number=2, params={}))
    assert plain.propose(9) == other.propose(9)


def test_seeds_depend_on_study_number_and_draw():
    seeds = {draw_seed(s, n, d) for s in range(3) for n in range(5) for d in range(4)}
    assert len(seeds) == 60
    assert draw_seed(1, 2, 3) == draw_seed(1, 2, 3)
