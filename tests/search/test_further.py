import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import elastic_study
import finished_study
import numpy as np
import pytest
import tabulated

from latency_tables.key import Runtime
from latency_tables.provenance import Provenance
from latency_tables.stairs import Plateau
from search.budget import LatencyBudget, price_from
from search.candidates import Candidates
from search.elastic_front import best_elastic
from search.experiment import validate
from search.further import NOTHING_FURTHER, NOTICEABLE_POINTS, further_trials
from search.further_space import further_space
from search.latency_options import TargetDevice
from search.outcomes import Outcome
from search.outlook import Outlook
from search.pareto import ParetoPoint, hypervolume
from search.records import Origin, TrialState
from search.retarget import AskedBudget, retarget
from search.retargeting import TableFile, experiment_on
from search.space import SearchSpace
from search.staircase import Staircase
from search.study import read_study
from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return finished_study.experiment(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def table():
    return finished_study.table()


@pytest.fixture(scope="module")
def study(config, table):
    return read_study(finished_study.make_study(config, table, num_trials=8))


@pytest.fixture(scope="module")
def space(config, table):
    return SearchSpace(config, table.geometry)


@pytest.fixture(scope="module", autouse=True)
def fewer_candidates():
    """A tenth of them: the same steps in a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.sampler.NUM_CANDIDATES", 30)
        patch.setattr("search.known_latency.NUM_CHILDREN", 1)
        yield


@pytest.fixture(scope="module")
def found(study, space, table):
    return further(study, space, table, num=3)


def further(study, space, table, *, num=2, asked=None, staircase=None):
    price = price_from(table)
    budget = (asked or AskedBudget()).on(study, price(PruningSchedule().plan(table.geometry)))
    there = retarget(study, price=price, geometry=table.geometry, budget=budget, experiment=study.experiment)
    search = finished_study.experiment("runs").search
    return budget, further_trials(
        there.after, space, price=price, budget=budget, search=search, num=num, staircase=staircase
    )


def test_further_trials_are_within_the_budget_new_and_worth_it(study, space, found):
    budget, trials = found[0], found[1].trials
    tried = {space.identity(TrialConfig.model_validate(t.config)) for t in study.trials}
    identities = [space.identity(t.proposal.config) for t in trials]
    assert 1 < len(trials) <= 3
    assert all(t.proposal.latency.high_ms <= budget.max_ms for t in trials)
    assert tried.isdisjoint(identities)
    assert len(set(identities)) == len(identities)
    assert all(t.gain_points >= NOTICEABLE_POINTS for t in trials)
    assert all(t.forecast.low_top1 < t.forecast.top1 < t.forecast.high_top1 <= 100.0 for t in trials)


def test_the_one_of_most_gain_comes_first(found):
    gains = [t.gain_points for t in found[1].trials]
    assert all(before >= after - 0.01 for before, after in pairwise(gains))


def test_the_same_study_gives_the_same_further_trials(study, space, table, found):
    assert further(study, space, table, num=3) == found


def test_another_device_asks_for_other_trials_within_its_own_budget(study, space, table):
    slow = finished_study.scaled(table, 3.0)
    budget, found = further(study, space, slow, asked=AskedBudget(max_latency_share=0.75))
    assert budget.max_ms == pytest.approx(0.75 * 3.0 * 5.6)
    assert found.trials
    assert all(t.proposal.latency.high_ms <= budget.max_ms for t in found.trials)


def test_what_is_not_worth_its_training_is_not_named(study, space, table, monkeypatch):
    monkeypatch.setattr("search.further.NOTICEABLE_POINTS", 50.0)
    _, found = further(study, space, table)
    assert found.trials == ()
    assert found.note == NOTHING_FURTHER


def test_no_budget_that_the_space_can_keep_means_no_further_trials(study, space, table):
    _, found = further(study, space, table, asked=AskedBudget(max_latency_ms=1.0))
    assert found.trials == ()
    assert f"the model takes {found.fastest.mean_ms:.3f} ms" in found.note


def test_few_trials_tell_nothing(study, space, table):
    _, found = further(replace(study, trials=study.trials[:3]), space, table)
    assert found.trials == ()
    assert "2 trials of the search space are trained, 4 are needed" in found.note


def test_trials_that_are_running_are_not_proposed_again(study, space, table, found):
    first = found[1].trials[0].proposal
    running = replace(
        study.trials[1],
        number=len(study.trials),
        state=TrialState.RUNNING,
        params=dict(first.params),
        config=first.config.to_dict(),
        top1=None,
        curve=(),
    )
    _, again = further(replace(study, trials=(*study.trials, running)), space, table)
    assert space.identity(first.config) not in {space.identity(t.proposal.config) for t in again.trials}


def test_the_gain_is_the_expected_growth_of_hypervolume(space):
    rng = np.random.default_rng(0)
    params = [{"keep1": 0.15 + 0.08 * n, "keep2_share": 0.5, "ratio": 1.0} for n in range(9)]
    latencies_ms = np.linspace(3.0, 5.0, 9)
    qualities = 85.0 - 20.0 * np.exp(-np.linspace(0.5, 3.0, 9)) + 0.1 * rng.standard_normal(9)
    outlook = Outlook.of(
        _parameters(space, params),
        [Outcome(params=p, quality=float(q)) for p, q in zip(params, qualities, strict=True)],
        tried=Candidates(params=params, latencies_ms=latencies_ms[:, None]),
        measured=[(3.4, 80.0)],
        reference_ms=5.5,
    )
    new, new_ms = {"keep1": 0.5, "keep2_share": 0.9, "ratio": 2.0}, 3.9
    forecast, scale = outlook.forecast(new, new_ms), outlook.model.scale
    means, stds = outlook.model.predict([*params, new])
    believed = [*(scale.ceiling - np.exp(means[:-1])), 80.0]
    points = [ParetoPoint(number=n, top1=float(q), latency_ms=float(ms)) for n, (q, ms) in
              enumerate(zip(believed, [*latencies_ms, 3.4], strict=True))]  # fmt: skip
    reference = {"min_top1": float(scale.ceiling - outlook.front.shortfalls[0]), "max_latency_ms": 5.5}
    drawn = scale.ceiling - np.exp(means[-1] + stds[-1] * rng.standard_normal(4000))
    grown = [
        hypervolume([*points, ParetoPoint(number=99, top1=float(q), latency_ms=new_ms)], **reference) for q in drawn
    ]
    assert forecast.gain == pytest.approx(np.mean(grown) - hypervolume(points, **reference), rel=0.1)
    noisy = scale.ceiling - (scale.ceiling - drawn) * np.exp(outlook.model.noise_std * rng.standard_normal(4000))
    assert forecast.low_top1 == pytest.approx(np.quantile(noisy, 0.05), abs=0.2)
    assert forecast.high_top1 == pytest.approx(np.quantile(noisy, 0.95), abs=0.2)


def test_the_experiment_of_a_device_can_be_read_back(config, table, tmp_path):
    odd = replace(table, key=replace(table.key, device_id="Phone (A/B) 5", batch_size=16))
    file = TableFile(path=tmp_path / "phone.json", table=odd)
    there = experiment_on(config, file, LatencyBudget(max_ms=7.0, source="test"))
    assert type(config).model_validate(json.loads(there.model_dump_json())) == there
    assert (there.latency.batch_size, there.latency.max_latency_ms) == (16, 7.0)
    assert there.study.name.startswith("small-on-Phone-A-B-5-")
    assert there.search == config.search


def test_tables_and_budgets_of_one_device_make_studies_of_different_names(config, table, tmp_path):
    long = config.model_copy(update={"study": config.study.model_copy(update={"name": "s" * 100})})
    keys = [table.key, replace(table.key, batch_size=16), replace(table.key, runtime=Runtime.COMPILED)]
    files = [TableFile(path=tmp_path / "t.json", table=replace(table, key=key)) for key in keys]
    budgets = [LatencyBudget(max_ms=ms, source="") for ms in (7.0, 7.5)]
    names = {experiment_on(long, file, budget).study.name[:80] for file in files for budget in budgets}
    assert len(names) == 6


@pytest.mark.parametrize(
    ("changes", "latency", "expected"),
    [
        ({}, {"target": TargetDevice.OTHER_DEVICE, "device": "cuda:0"}, ("this_device", "cpu")),
        ({"gpu_name": "H100"}, {}, ("this_device", "cuda:0")),
        ({"runtime": Runtime.CUDA_GRAPH}, {}, ("this_device", "cuda:0")),
        ({"imported_from": "board.csv"}, {"device": "cuda:1"}, ("other_device", "cuda:1")),
        ({"imported_from": "board.csv", "runtime": Runtime.CUDA_GRAPH}, {}, ("other_device", "cuda:0")),
        ({"imported_from": "board.csv", "runtime": Runtime.ONNXRUNTIME}, {"device": "cuda"}, ("other_device", "cpu")),
    ],
)
def test_the_experiment_of_a_device_says_whose_latencies_count_and_where_models_run(
    config, table, changes, latency, expected
):
    there = replace(
        table,
        key=replace(table.key, runtime=changes.get("runtime", Runtime.EAGER)),
        device=replace(table.device, gpu_name=changes.get("gpu_name", "")),
        provenance=Provenance(imported_from=changes.get("imported_from", "")),
    )
    here = config.model_copy(update={"latency": config.latency.model_copy(update=latency)})
    found = experiment_on(here, TableFile(path=Path("t.json"), table=there), LatencyBudget(max_ms=7.0, source=""))
    assert (found.latency.target, found.latency.device) == expected
    assert validate(found.model_dump(mode="json"), source="read back") == found


def test_further_trials_are_snapped_as_those_of_a_search_are(study, space, table):
    level = (Plateau(first=1, last=9, ms=1.0), Plateau(first=10, last=17, ms=1.7))
    _, found = further(study, space, table, num=3, staircase=Staircase(geometry=table.geometry, levels=(level,)))
    assert found.trials
    assert all(set(t.proposal.plan.block_tokens) <= {9, 17} for t in found.trials)


def _parameters(space, params):
    from optuna.trial import FixedTrial, create_trial

    from search.parameters import ParameterSpace

    fixed = [FixedTrial(p) for p in params]
    for trial in fixed:
        space.suggest(trial)
    return ParameterSpace.of_trials(
        [
            create_trial(params=p, distributions=f.distributions, values=[1.0, 1.0])
            for p, f in zip(params, fixed, strict=True)
        ]
    )


def test_a_space_with_parameters_that_not_every_trial_has_is_taken_to_another_device(tmp_path, table):
    values = finished_study.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"] |= {"num_selectors": {"choices": [1, 2]}, "blocks": {"low": 1, "high": 2}}
    values["search"] |= {"enqueue": [{"keep_rates": [0.3]}], "warm_starts": True}
    config = type(finished_study.experiment(tmp_path)).model_validate(values)
    study = read_study(finished_study.make_study(config, table, num_trials=8))
    slow = finished_study.scaled(table, 3.0)
    budget, found = further(study, SearchSpace(config, table.geometry), slow)
    assert found.trials
    for trial in found.trials:
        stages = trial.proposal.config.pruning.schedule.stages
        assert ("keep2_share" in trial.proposal.params) == (len(stages) == 2)
        assert trial.proposal.latency.high_ms <= budget.max_ms
        assert trial.proposal.label == ""


@pytest.fixture(scope="module")
def elastic_config(tmp_path_factory):
    """Of a search that began with elastic trials and has ended."""
    config = elastic_study.experiment(tmp_path_factory.mktemp("elastic"))
    elastic_study.run(config).finish()
    return config


def further_there(study, config, **changes):
    """Further trials on a device that takes twice as long for everything."""
    there = retarget(study, price=twice, geometry=tabulated.GEOMETRY, budget=AskedBudget().on(study, twice_dense()))
    space = further_space(study, config, tabulated.GEOMETRY)
    asked = {"price": twice, "budget": there.budget, "search": config.search, "num": 2} | changes
    return space, further_trials(there.after, asked.pop("space", space), **asked)


def twice(plan):
    latency = tabulated.price(plan)
    return replace(latency, mean_ms=2 * latency.mean_ms, low_ms=2 * latency.low_ms, high_ms=2 * latency.high_ms)


def twice_dense():
    return twice(PruningSchedule().plan(tabulated.GEOMETRY))


def test_after_elastic_trials_further_ones_go_on_from_the_best_ones_weights_too(elastic_config):
    study = read_study(elastic_config.study.directory / "toy")
    space, found = further_there(study, elastic_config)
    contender = next(t for t in study.trials if t.origin is Origin.CONTENDER)
    tried = {space.identity(TrialConfig.model_validate(t.config)) for t in study.finished}
    assert found.trials
    for trial in found.trials:
        config = trial.proposal.config
        assert config.start == TrialConfig.model_validate(contender.config).start
        assert config.training == TrialConfig.model_validate(contender.config).training
        assert config.losses.distillation == best_elastic(study.trials).params["distillation"]
        assert trial.proposal.params.keys() <= contender.params.keys()
        assert space.identity(config) not in tried


def test_trials_that_all_lie_outside_of_the_space_tell_nothing(elastic_config):
    study = read_study(elastic_config.study.directory / "toy")
    whole = SearchSpace(elastic_config, tabulated.GEOMETRY)
    _, found = further_there(study, elastic_config, space=whole)
    assert found.trials == ()
    assert "0 trials of the search space are trained, 4 are needed" in found.note


def test_a_search_for_elastic_weights_alone_has_no_trials_that_tell_of_further_ones(tmp_path):
    config = elastic_study.experiment(tmp_path, mode="elastic")
    elastic_study.run(config).finish()
    _, found = further_there(read_study(tmp_path / "toy"), config)
    assert found.trials == ()
    assert "0 trials of the search space are trained, 4 are needed" in found.note


def test_without_elastic_trials_further_ones_are_of_the_whole_space(study, config, table):
    assert further_space(study, config, table.geometry).experiment is config
