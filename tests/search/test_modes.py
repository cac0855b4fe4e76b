"""Searches with elastic weights, without Ray: workers are simulated, the weights are files."""

import random
from pathlib import Path

import pytest
import tabulated
import torch

from search.driver import Failure, Idle, ReportKey
from search.elastic_trial import elastic_trial, schedule_space, settings_space
from search.launcher import Device
from search.limits import Limits
from search.modes import ModeParts
from search.rank_agreement import RankAgreement
from search.records import Origin, TrialState
from search.simulated_workers import SimulatedWorkers
from search.space import SearchSpace
from search.study import read_study
from spvit.errors import ConfigError
from spvit.schedule import PruningSchedule
from trainers.checkpoint import save_checkpoint
from trainers.config import TrialConfig
from trainers.elastic_config import ElasticConfig
from trainers.metrics import EpochMetrics, Evaluation, PricedSchedule

NUM_BANDS = 3


def _experiment(directory, mode="auto", **search):
    elastic = {"num_trials": 2, "num_bands": NUM_BANDS, "epochs": 3, "contender_epochs": 2, "num_priced": 12}
    settings = {"mode": mode, "elastic": elastic | search.pop("elastic", {}), "pruner": "none"} | search
    config = tabulated.experiment(directory, **settings)
    losses = config.search.space.losses | {"distillation": config.search.space.losses["ratio"]}
    space = config.search.space.model_copy(update={"losses": losses})
    return config.model_copy(update={"search": config.search.model_copy(update={"space": space})})


def _budget(config):
    from search.budget import LatencyBudget

    return LatencyBudget.from_config(config.latency, tabulated.dense())


def _driver(config):
    store, space = tabulated.make_store(config), SearchSpace(config, tabulated.GEOMETRY)
    parts = ModeParts(
        experiment=config,
        device=Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="a" * 64),
        space=space,
        budget=_budget(config),
        directory=store.directory,
    )
    driver = parts.driver_type()(
        store=store,
        proposer=tabulated.make_proposer(config),
        pruner=parts.pruner(),
        limits=Limits.from_config(config),
    )
    driver.start()
    return driver


def _top1(rates, sign=1.0):
    return 70.0 + sign * 10.0 * sum(rates) / len(rates)


def _report(directory, *, sign=1.0):
    """What workers say; an elastic one leaves weights in its folder first. `sign` turns trained schedules around."""

    def report(trial, epoch):
        config = TrialConfig.model_validate(trial.config)
        if config.elastic is None:
            return tabulated.metrics(epoch, _top1(config.pruning.schedule.keep_rates, sign) + 0.1 * epoch)
        root = trial.number if trial.retry_of is None else trial.retry_of
        _save_weights(directory / "toy" / "trials" / str(root), epoch)
        evaluation = Evaluation(top1=50.0, top5=99.0, loss=1.0, num_images=100)
        return EpochMetrics(epoch=epoch, evaluation=evaluation, priced=_priced(config)).to_dict()

    return report


def _priced(config):
    rng = random.Random(config.losses.distillation)
    rates = [sorted((rng.uniform(0.15, 0.9) for _ in range(3)), reverse=True) for _ in range(24)]
    return tuple(
        PricedSchedule(schedule=PruningSchedule.from_keep_rates(each, (1, 2, 4)), cost=1.0, top1=_top1(each))
        for each in rates
    )


def _save_weights(folder: Path, epoch):
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"w": torch.full((2,), float(epoch))}
    save_checkpoint(folder, epoch, weights=weights, training_weights=None, optimizer={}, meta={"identity": "x"})


def _run(driver, directory, *, max_reports=None, sign=1.0):
    workers = SimulatedWorkers(
        report=_report(directory, sign=sign), epoch_s=lambda trial, epoch: 1.0, max_reports=max_reports
    )
    workers.run(driver)
    return driver


def test_elastic_trials_come_first_then_the_best_of_each_band_from_their_weights(tmp_path):
    _run(_driver(_experiment(tmp_path)), tmp_path).finish()
    study = read_study(tmp_path / "toy")
    elastic = study.elastic
    assert [t.number for t in elastic] == [0, 1]
    assert elastic[0].params != elastic[1].params
    assert all(t.num_epochs == 3 and t.priced and t.top1 == t.curve[-1] for t in elastic)
    best = max(elastic, key=lambda t: t.top1)
    schedules = [t for t in study.trials if t.origin in {Origin.CONTENDER, Origin.SAMPLER}]
    assert [t.origin for t in schedules[:NUM_BANDS]] == [Origin.CONTENDER] * NUM_BANDS
    assert len(schedules) == 8
    weights = f"trials/{best.number}/"
    assert all(weights in t.config["start"]["path"] and t.num_epochs == 2 for t in schedules)
    assert all(t.config["losses"]["distillation"] == best.params["distillation"] for t in schedules)
    assert {"keep1", "ratio"} <= schedules[0].params.keys()
    assert "distillation" not in schedules[0].params
    assert {t.origin for t in study.finished} == {Origin.BASELINE, Origin.CONTENDER, Origin.SAMPLER}


def test_estimates_of_what_is_trained_further_are_kept_and_compared(tmp_path):
    _run(_driver(_experiment(tmp_path)), tmp_path).finish()
    study = read_study(tmp_path / "toy")
    for trial in study.finished:
        if trial.origin is not Origin.BASELINE:
            rates = TrialConfig.model_validate(trial.config).pruning.schedule.keep_rates
            assert trial.estimated_top1 == pytest.approx(_top1(rates), abs=1.0)
    agreement = RankAgreement.of(study.trials)
    assert agreement.num_compared == 8
    assert agreement.tau > 0.8


def test_estimates_that_results_contradict_are_said_to_and_left_out(tmp_path, caplog):
    config = _experiment(tmp_path, num_concurrent=1, elastic={"num_bands": 6, "min_compared": 3})
    _run(_driver(config), tmp_path, sign=-1.0).finish()
    said = [record.message for record in caplog.records if "Kendall" in record.message]
    assert len(said) == 1
    assert "below search.elastic.min_rank_correlation = 0.50" in said[0]
    origins = [t.origin for t in read_study(tmp_path / "toy").trials]
    assert origins.count(Origin.CONTENDER) == 3  # of six: the others were to be trained on the estimates' account


@pytest.mark.parametrize("num_reports", [5, 12])
def test_a_killed_search_goes_on_where_it_was(tmp_path, num_reports):
    config = _experiment(tmp_path, num_concurrent=1)
    _run(_driver(config), tmp_path, max_reports=num_reports)
    _run(_driver(config), tmp_path).finish()
    killed = [t.params for t in read_study(tmp_path / "toy").trials if t.state is TrialState.COMPLETE]
    undisturbed_path = tmp_path / "undisturbed"
    _run(_driver(_experiment(undisturbed_path, num_concurrent=1)), undisturbed_path).finish()
    undisturbed = read_study(undisturbed_path / "toy").trials
    assert killed == [t.params for t in undisturbed if t.state is TrialState.COMPLETE]


def test_a_search_for_elastic_weights_alone_ends_with_them(tmp_path):
    driver = _run(_driver(_experiment(tmp_path, mode="elastic")), tmp_path)
    assert driver.is_finished
    driver.finish()
    study = read_study(tmp_path / "toy")
    assert [t.origin for t in study.trials] == [Origin.ELASTIC, Origin.ELASTIC, Origin.BASELINE]
    assert study.end.reason == "every elastic trial has ended"


def test_without_elastic_weights_schedules_are_trained_from_the_backbone(tmp_path, caplog):
    driver = _driver(_experiment(tmp_path, elastic={"num_trials": 1}, num_concurrent=1))
    first = driver.suggest()
    driver.on_result(first.number, {ReportKey.FAILURE: Failure.CONFIGURATION.value, ReportKey.REASON: "broken"})
    _run(driver, tmp_path).finish()
    assert "no elastic trial was trained to its end" in caplog.text
    schedules = [t for t in read_study(tmp_path / "toy").finished if t.origin is not Origin.BASELINE]
    assert len(schedules) == 8
    assert all("start" not in t.config and t.num_epochs == 4 for t in schedules)


def test_schedules_wait_for_the_last_elastic_trial(tmp_path):
    driver = _driver(_experiment(tmp_path, num_concurrent=4))
    first, second, baseline = driver.suggest(), driver.suggest(), driver.suggest()
    assert [t.origin for t in (first, second, baseline)] == [Origin.ELASTIC, Origin.ELASTIC, Origin.BASELINE]
    assert driver.suggest() is Idle.WAIT


def test_a_lost_elastic_trial_is_run_again_before_schedules(tmp_path):
    driver = _driver(_experiment(tmp_path, num_concurrent=1, elastic={"num_trials": 1}))
    lost = driver.suggest()
    driver.on_error(lost.number, "its node went away")
    again = driver.suggest()
    assert (again.origin, again.retry_of) == (Origin.ELASTIC, lost.number)


def test_an_elastic_trial_draws_what_the_search_explores_and_the_budget_admits(tmp_path):
    config = _experiment(tmp_path)
    space = SearchSpace(config, tabulated.GEOMETRY)
    trial = elastic_trial(config, space, budget=_budget(config), dense_ms=tabulated.dense().mean_ms, latency=None)
    elastic = trial.elastic
    assert (elastic.lowest_keep_rate, elastic.highest_keep_rate) == (0.15, 0.9)
    assert elastic.max_cost_share == pytest.approx(0.7)
    assert trial.pruning.schedule.blocks == (1, 2, 4)
    given = config.model_copy(update={"elastic": ElasticConfig(lowest_keep_rate=0.3)})
    own = elastic_trial(given, space, budget=_budget(config), dense_ms=9.8, latency=None)
    assert own.elastic.lowest_keep_rate == 0.3


def test_settings_are_explored_by_elastic_trials_and_schedules_by_the_others(tmp_path):
    config = _experiment(tmp_path)
    settings = settings_space(config, tabulated.GEOMETRY)
    whole = SearchSpace(config, tabulated.GEOMETRY)
    trial = elastic_trial(config, whole, budget=_budget(config), dense_ms=9.8, latency=None)
    schedules = schedule_space(config, tabulated.GEOMETRY, None, trial)
    assert settings.names == ("distillation",)
    assert {*settings.names, *schedules.names} == {*whole.names}
    assert not {*settings.names} & {*schedules.names}


def test_a_search_without_keep_rates_is_refused(tmp_path):
    config = _experiment(tmp_path)
    space = config.search.space.model_copy(update={"stage_keep_rates": None})
    config = config.model_copy(update={"search": config.search.model_copy(update={"space": space})})
    with pytest.raises(ConfigError, match=r"explores no keep rates: explore search\.space\.stage_keep_rates"):
        elastic_trial(
            config, SearchSpace(config, tabulated.GEOMETRY), budget=_budget(config), dense_ms=9.8, latency=None
        )


def test_published_checkpoints_are_refused(tmp_path):
    config = _experiment(tmp_path)
    config = config.model_copy(update={"study": config.study.model_copy(update={"checkpoints": "/elsewhere"})})
    with pytest.raises(ConfigError, match=r"study\.checkpoints says that they do not"):
        ModeParts(
            experiment=config,
            device=Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256=""),
            space=SearchSpace(config, tabulated.GEOMETRY),
            budget=_budget(config),
            directory=tmp_path,
        )
