"""What every sampler must do: `KnownLatencySampler` on a study of its own, and each sampler by name behind the cap."""

import pickle
from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
import tabulated
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search import KnownLatencySampler
from search.budget import LatencyBudget
from search.proposer import Proposer
from search.records import TrialRecord, TrialState
from search.search_config import SamplerName
from search.space import SearchSpace

WIDE = {"width": FloatDistribution(0.1, 1.0), "rate": FloatDistribution(1e-4, 1.0, log=True)}
SMALL = {"width": IntDistribution(1, 6)}
PLAIN_CAP_MS = 5.0


def plain_latency(params):
    return params["width"] if isinstance(params["width"], int) else 10 * params["width"]


class PlainStudy:
    """A search with `study.ask` and `study.tell` alone."""

    def __init__(self, *, seed=0, distributions=None, trials=()):
        self.distributions = distributions or WIDE
        self.cap_ms = PLAIN_CAP_MS
        sampler = KnownLatencySampler(
            plain_latency,
            max_latency_ms=self.cap_ms,
            search_space=self.distributions,
            seed=seed,
            num_startup_trials=2,
            num_candidates=50,
        )
        self.study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self.study.add_trials(trials)

    def ask(self):
        trial = self.study.ask(self.distributions)
        return SimpleNamespace(number=trial.number, identity=str(trial.params), latency_ms=plain_latency(trial.params))

    def next_identity(self):
        return self.ask().identity

    def end(self, asked, quality):
        self.study.tell(asked.number, [quality, asked.latency_ms], skip_if_finished=True)

    def prune(self, asked):
        self.study.tell(asked.number, state=OptunaState.PRUNED)

    def fail(self, asked):
        self.study.tell(asked.number, state=OptunaState.FAIL)

    def end_unknown(self):
        with pytest.raises(ValueError, match="999"):
            self.study.tell(999, [1.0, 1.0])

    def add_foreign(self):
        """A trial of another space, as when two spaces share a study; it takes a number as any other does."""
        self.study.add_trial(
            create_trial(params={"other": 0.5}, distributions={"other": FloatDistribution(0.0, 1.0)}, values=[1.0, 1.0])
        )

    def restarted(self):
        return PlainStudy(distributions=self.distributions, trials=self.study.trials)

    def pickled(self):
        again = PlainStudy(distributions=self.distributions, trials=self.study.trials)
        again.study.sampler = pickle.loads(pickle.dumps(self.study.sampler))  # noqa: S301  # its own bytes
        return again


class BehindTheCap:
    """A search with the proposer that experiments use."""

    def __init__(self, directory, name, *, seed=0, small=False):
        space = {"space": {"losses": {"ratio": {"choices": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]}}}} if small else {}
        config = tabulated.experiment(
            directory, sampler=name, num_startup_trials=2, warm_starts=False, widen=False, **space
        )
        self.space = SearchSpace(config, tabulated.GEOMETRY)
        self.budget = LatencyBudget.from_config(config.latency, tabulated.dense())
        self.cap_ms = self.budget.max_ms
        self.config, self.seed = config.search, seed
        self.records = []
        self.proposer = self._new_proposer()

    def ask(self):
        proposal = self.proposer.propose(len(self.records))
        if proposal is None:
            return None
        record = TrialRecord(
            number=len(self.records),
            state=TrialState.RUNNING,
            params=proposal.params,
            config=proposal.config.to_dict(),
            latency=proposal.latency,
            keep_counts=(),
            blocks=(),
        )
        self.records.append(record)
        identity = self.space.identity(proposal.config)
        return SimpleNamespace(number=record.number, identity=identity, latency_ms=record.latency.high_ms)

    def next_identity(self):
        return self.ask().identity

    def end(self, asked, quality):
        self._end(asked, TrialState.COMPLETE, top1=quality)

    def prune(self, asked):
        self._end(asked, TrialState.PRUNED)

    def fail(self, asked):
        self._end(asked, TrialState.FAIL)

    def end_unknown(self):
        self.proposer.end(replace(self.records[0], number=999))

    def add_foreign(self):
        """A baseline, which lies off the space."""
        self.proposer.add(replace(self.records[0], number=998, params={}, state=TrialState.COMPLETE, top1=99.0))

    def restarted(self):
        again = copy(self)
        again.records = list(self.records)
        again.proposer = self._new_proposer()
        again.proposer.restore(self.records, self.proposer.rejections)
        return again

    def pickled(self):
        again = copy(self)
        again.records = list(self.records)
        again.proposer = pickle.loads(pickle.dumps(self.proposer))  # noqa: S301  # its own bytes
        return again

    def _end(self, asked, state, **changes):
        record = replace(self.records[asked.number], state=state, **changes)
        if not self.records[asked.number].state.is_finished:
            self.records[asked.number] = record
        self.proposer.end(record)

    def _new_proposer(self):
        return Proposer(self.space, price=tabulated.price, budget=self.budget, config=self.config, seed=self.seed)


def run(search, num_trials):
    """Trials one after the other, slower ones being better; their identities."""
    asked = [_trained(search) for _ in range(num_trials)]
    return [trial.identity for trial in asked]


def _trained(search):
    asked = search.ask()
    search.end(asked, 60 + asked.latency_ms)
    return asked


class SamplerContract:
    """Inherited by a class for each sampler, which says how a search with it starts."""

    @pytest.fixture(autouse=True)
    def _few_draws(self, monkeypatch):
        """What a model proposes above the cap is drawn again, and a draw of Optuna's Gaussian process takes 0.3 s."""
        monkeypatch.setattr("search.proposer.NUM_MODEL_DRAWS", 3)
        monkeypatch.setattr("search.proposer.NUM_RANDOM_DRAWS", 60)

    def start(self, tmp_path, **kwargs):
        raise NotImplementedError

    def test_proposals_are_a_function_of_the_seed(self, tmp_path):
        one, same, other = (run(self.start(tmp_path, seed=seed), 3) for seed in (0, 0, 1))
        assert one == same
        assert one != other

    def test_nothing_above_the_cap_is_proposed(self, tmp_path):
        search = self.start(tmp_path)
        asked = [_trained(search) for _ in range(5)]
        assert max(trial.latency_ms for trial in asked) <= search.cap_ms

    def test_trials_at_once_differ_and_may_end_in_any_order_and_way(self, tmp_path):
        search = self.start(tmp_path)
        run(search, 3)
        at_once = [search.ask() for _ in range(4)]
        assert len({trial.identity for trial in at_once}) == 4
        search.end(at_once[3], 70.0)
        search.prune(at_once[0])
        search.fail(at_once[2])
        search.end(at_once[1], 71.0)
        assert search.ask().latency_ms <= search.cap_ms

    def test_a_restarted_search_goes_on_as_if_it_had_not_stopped(self, tmp_path):
        search = self.start(tmp_path)
        run(search, 3)
        search.prune(search.ask())
        restarted = search.restarted()
        assert restarted.next_identity() == search.next_identity()

    def test_a_pickled_search_goes_on_the_same(self, tmp_path):
        search = self.start(tmp_path)
        run(search, 3)
        search.ask()  # one that is still running
        pickled = search.pickled()
        assert pickled.next_identity() == search.next_identity()

    def test_unknown_trials_and_results_after_the_end_change_nothing(self, tmp_path):
        undisturbed, search = self.start(tmp_path), self.start(tmp_path)
        run(undisturbed, 3)
        run(search, 2)
        asked = _trained(search)
        search.end(asked, 99.0)
        search.end_unknown()
        assert search.ask().identity == undisturbed.ask().identity

    def test_foreign_trials_are_no_obstacle(self, tmp_path):
        search = self.start(tmp_path)
        run(search, 3)
        search.add_foreign()
        assert search.ask().latency_ms <= search.cap_ms

    def test_a_small_space_is_tried_whole_before_anything_again(self, tmp_path):
        search = self.start(tmp_path, small=True)
        assert len(set(run(search, self.num_small))) == self.num_small
        again = search.ask()
        assert again is None or again.latency_ms <= search.cap_ms


class TestKnownLatencySampler(SamplerContract):
    num_small = 5  # the sixth is above the cap

    def start(self, tmp_path, *, small=False, **kwargs):
        return PlainStudy(distributions=SMALL if small else WIDE, **kwargs)


class _ByName(SamplerContract):
    num_small = 6

    def start(self, tmp_path, **kwargs):
        return BehindTheCap(tmp_path, self.name, **kwargs)


class TestKnownLatency(_ByName):
    name = SamplerName.KNOWN_LATENCY


class TestTpe(_ByName):
    name = SamplerName.TPE


class TestNsga2(_ByName):
    name = SamplerName.NSGA2


class TestGp(_ByName):
    name = SamplerName.GP


class TestRandom(_ByName):
    name = SamplerName.RANDOM
