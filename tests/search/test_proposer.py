from dataclasses import replace

import pytest
import tabulated

from latency_tables.stairs import Plateau
from search.budget import LatencyBudget
from search.proposer import NUM_DUPLICATE_DRAWS, Proposer
from search.records import Rejection, TrialState
from search.sampler import draw_seed
from search.search_config import SamplerName
from search.space import SearchSpace
from search.staircase import Staircase

pytestmark = pytest.mark.usefixtures("few_candidates")


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


def test_a_sampler_that_proposes_what_was_tried_is_soon_left_for_random_draws(tmp_path, monkeypatch):
    monkeypatch.setattr("search.proposer.NUM_RANDOM_DRAWS", 20)
    space = {"losses": {"ratio": {"choices": [1.0, 2.0]}}}
    proposer = tabulated.make_proposer(tabulated.experiment(tmp_path, space=space, sampler=SamplerName.TPE))
    for number in range(2):
        proposer.propose(number)
    asked, make_sampler = [], proposer._make_sampler
    proposer._make_sampler = lambda name, **kwargs: asked.append(name) or make_sampler(name, **kwargs)
    assert proposer.propose(2) is None
    assert asked.count(SamplerName.TPE) == NUM_DUPLICATE_DRAWS
    assert asked[:NUM_DUPLICATE_DRAWS] == [SamplerName.TPE] * NUM_DUPLICATE_DRAWS


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


STAIRCASE = Staircase(
    geometry=tabulated.GEOMETRY,
    levels=(
        (Plateau(first=1, last=16, ms=1.0), Plateau(first=17, last=32, ms=2.0), Plateau(first=33, last=50, ms=3.0)),
    ),
)


def _first_proposals(config, max_ms, staircase):
    budget = LatencyBudget(max_ms=max_ms, source="a test")
    space = SearchSpace(config, tabulated.GEOMETRY)
    proposer = Proposer(space, price=tabulated.price, budget=budget, config=config.search, seed=1, staircase=staircase)
    return [proposer.propose(number) for number in range(4)]


def test_proposals_are_snapped_to_the_edges_of_plateaus_within_the_budget(tmp_path):
    config = tabulated.experiment(tmp_path, sampler=SamplerName.RANDOM, warm_starts=False)
    snapped = _first_proposals(config, 1000.0, STAIRCASE)
    assert all(set(proposal.plan.block_tokens) <= {16, 32, 50} for proposal in snapped)
    assert not all(
        set(proposal.plan.block_tokens) <= {16, 32, 50} for proposal in _first_proposals(config, 1000.0, None)
    )


def test_a_snapped_schedule_beyond_the_budget_is_not_taken(tmp_path):
    config = tabulated.experiment(tmp_path, sampler=SamplerName.RANDOM, warm_starts=False)
    proposals = _first_proposals(config, 6.0, STAIRCASE)
    assert all(proposal.latency.high_ms <= 6.0 for proposal in proposals)
    assert any(set(proposal.plan.block_tokens) - {16, 32, 50} for proposal in proposals)
