"""Searches with elastic weights, without Ray: workers are simulated, the weights are files."""

from functools import partial

import elastic_study
import pytest
import tabulated
from elastic_study import NUM_BANDS, budget, experiment, make_driver, run, top1
from pydantic import ValidationError

from search.driver import Failure, Idle, ReportKey
from search.elastic_trial import elastic_trial, schedule_space, settings_space
from search.experiment import validate
from search.extension import extended
from search.rank_agreement import RankAgreement
from search.records import Origin, TrialState
from search.search_config import SearchConfig
from search.selection import front_trials
from search.simulated_workers import SimulatedWorkers
from search.space import SearchSpace
from search.space_config import SpaceConfig
from search.study import StudyStore, read_study
from spvit.errors import ConfigError, UsageError
from spvit.options import TokenForm
from trainers.config import TrialConfig
from trainers.elastic_config import ElasticConfig

pytestmark = pytest.mark.usefixtures("few_candidates")


def test_elastic_trials_come_first_then_the_best_of_each_band_from_their_weights(tmp_path):
    run(experiment(tmp_path)).finish()
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


@pytest.mark.parametrize("num_concurrent", [1, 3])
def test_the_baseline_is_trained_in_full_from_the_backbone_however_many_run_at_once(tmp_path, num_concurrent):
    config = experiment(tmp_path, num_concurrent=num_concurrent)
    run(config).finish()
    (baseline,) = [t for t in read_study(tmp_path / "toy").trials if t.origin is Origin.BASELINE]
    assert (baseline.num_epochs, baseline.config.get("start")) == (config.training.epochs, None)
    assert baseline.config["training"]["lr"] == config.training.lr


def test_the_schedule_estimated_best_within_each_budget_is_trained_first(tmp_path):
    config = experiment(tmp_path, num_concurrent=1)
    cap_ms = budget(config).max_ms
    limits = (0.75 * cap_ms, 0.85 * cap_ms, cap_ms)
    latency = config.latency.model_copy(update={"max_latency_ms": limits, "max_latency_share": None})
    run(config.model_copy(update={"latency": latency})).finish()
    contenders = [t for t in read_study(tmp_path / "toy").trials if t.origin is Origin.CONTENDER]
    for trial, limit_ms in zip(contenders, reversed(limits), strict=False):
        assert 0.93 * limit_ms < trial.latency.high_ms <= limit_ms  # what is dearer is better here
    assert len(contenders) == len({t.latency.mean_ms for t in contenders}) >= len(limits)


def test_what_is_trained_first_lies_far_apart(tmp_path):
    config = experiment(tmp_path, num_concurrent=1, elastic={"num_bands": 8})
    run(config).finish()
    contenders = [t.latency.mean_ms for t in read_study(tmp_path / "toy").trials if t.origin is Origin.CONTENDER]
    assert contenders[:2] == [max(contenders), min(contenders)]
    apart = [min(abs(ms - other) for other in contenders[:n]) for n, ms in enumerate(contenders) if n]
    assert apart == sorted(apart, reverse=True)


def test_an_extended_search_trains_the_front_on_and_more_schedules_from_the_same_weights(tmp_path):
    config = experiment(tmp_path)
    run(config).finish()
    before = read_study(tmp_path / "toy")
    longer, terms = extended(config, before, trials="+2", epochs=6)
    run(longer, make_driver(longer, terms=terms)).finish()
    after = read_study(tmp_path / "toy").trials[len(before.trials) :]
    continued = [t for t in after if t.origin is Origin.CONTINUED]
    assert {t.continues for t in continued} == {trial.number for trial in front_trials(before)}
    assert {t.num_epochs for t in continued} == {6}
    further = [t for t in after if t.origin is not Origin.CONTINUED]
    assert [(t.origin, t.num_epochs) for t in further] == [(Origin.SAMPLER, 2)] * 2
    assert {t.config["start"]["path"] for t in further} == {before.finished[-1].config["start"]["path"]}


def test_estimates_of_what_is_trained_further_are_kept_and_compared(tmp_path):
    run(experiment(tmp_path)).finish()
    study = read_study(tmp_path / "toy")
    for trial in study.finished:
        if trial.origin is not Origin.BASELINE:
            rates = TrialConfig.model_validate(trial.config).pruning.schedule.keep_rates
            assert trial.estimated_top1 == pytest.approx(top1(rates), abs=1.0)
    agreement = RankAgreement.of(study.trials)
    assert agreement.num_compared == 8
    assert agreement.tau > 0.8


def test_estimates_that_results_contradict_are_said_to_and_left_out(tmp_path, caplog):
    config = experiment(tmp_path, num_concurrent=1, elastic={"num_bands": 6, "min_compared": 3})
    run(config, sign=-1.0).finish()
    said = [record.message for record in caplog.records if "Kendall" in record.message]
    assert len(said) == 1
    assert "below search.elastic.min_rank_correlation = 0.50" in said[0]
    origins = [t.origin for t in read_study(tmp_path / "toy").trials]
    assert origins.count(Origin.CONTENDER) == 3  # of six: the others were to be trained on the estimates' account


def test_contenders_come_back_with_the_trust_in_estimates(tmp_path):
    config = experiment(tmp_path, num_concurrent=1, elastic={"num_trials": 1, "num_bands": 8, "min_compared": 99})
    driver = make_driver(config)
    SimulatedWorkers(report=partial(elastic_study._report, config, 1.0), epoch_s=lambda t, e: 1.0, max_reports=8).run(
        driver
    )
    proposer = driver._agenda.proposer
    proposer.is_trusted = False
    assert proposer.propose(90).origin is Origin.SAMPLER
    proposer.is_trusted = True
    assert proposer.propose(91).origin is Origin.CONTENDER


def test_a_driver_that_dies_after_the_last_report_of_an_elastic_trial_loses_no_prices(tmp_path, monkeypatch):
    config = experiment(tmp_path, num_concurrent=1, elastic={"num_trials": 1})
    driver = make_driver(config)
    with monkeypatch.context() as patch:
        patch.setattr(StudyStore, "complete", _die)
        with pytest.raises(SystemExit):
            run(config, driver)
    assert read_study(tmp_path / "toy").trials[0].num_epochs == config.search.elastic.epochs
    run(config).finish()
    study = read_study(tmp_path / "toy")
    (elastic,) = [t for t in study.elastic if t.state is TrialState.COMPLETE]
    assert elastic.retry_of == 0
    assert elastic.priced
    assert [t.origin for t in study.finished if t.config.get("start")]


def _die(*_):
    raise SystemExit


@pytest.mark.parametrize("num_reports", [5, 12])
def test_a_killed_search_goes_on_where_it_was(tmp_path, num_reports):
    config = experiment(tmp_path, num_concurrent=1)
    run(config, max_reports=num_reports)
    run(config).finish()
    killed = [t.params for t in read_study(tmp_path / "toy").trials if t.state is TrialState.COMPLETE]
    undisturbed_path = tmp_path / "undisturbed"
    run(experiment(undisturbed_path, num_concurrent=1)).finish()
    undisturbed = read_study(undisturbed_path / "toy").trials
    assert killed == [t.params for t in undisturbed if t.state is TrialState.COMPLETE]


def test_a_search_for_elastic_weights_alone_ends_with_them(tmp_path):
    driver = run(experiment(tmp_path, mode="elastic"))
    assert driver.is_finished
    driver.finish()
    study = read_study(tmp_path / "toy")
    assert [t.origin for t in study.trials] == [Origin.ELASTIC, Origin.ELASTIC, Origin.BASELINE]
    assert study.end.reason == "every elastic trial has ended"


def test_without_elastic_weights_schedules_are_trained_from_the_backbone(tmp_path, caplog):
    config = experiment(tmp_path, elastic={"num_trials": 1}, num_concurrent=1)
    driver = make_driver(config)
    first = driver.suggest()
    driver.on_result(first.number, {ReportKey.FAILURE: Failure.CONFIGURATION.value, ReportKey.REASON: "broken"})
    run(config, driver).finish()
    assert "no elastic trial was trained to its end" in caplog.text
    schedules = [t for t in read_study(tmp_path / "toy").finished if t.origin is not Origin.BASELINE]
    assert len(schedules) == 8
    assert all("start" not in t.config and t.num_epochs == 4 for t in schedules)


def test_schedules_wait_for_the_last_elastic_trial(tmp_path):
    driver = make_driver(experiment(tmp_path, num_concurrent=4))
    first, second, baseline = driver.suggest(), driver.suggest(), driver.suggest()
    assert [t.origin for t in (first, second, baseline)] == [Origin.ELASTIC, Origin.ELASTIC, Origin.BASELINE]
    assert driver.suggest() is Idle.WAIT


def test_a_lost_elastic_trial_is_run_again_before_schedules(tmp_path):
    driver = make_driver(experiment(tmp_path, num_concurrent=1, elastic={"num_trials": 1}))
    lost = driver.suggest()
    driver.on_error(lost.number, "its node went away")
    again = driver.suggest()
    assert (again.origin, again.retry_of) == (Origin.ELASTIC, lost.number)


def test_an_elastic_trial_draws_what_the_search_explores_and_the_budget_admits(tmp_path):
    config = experiment(tmp_path)
    space = SearchSpace(config, tabulated.GEOMETRY)
    trial = elastic_trial(config, space, budget=budget(config), dense_ms=tabulated.dense().mean_ms, latency=None)
    elastic = trial.elastic
    assert (elastic.lowest_keep_rate, elastic.highest_keep_rate) == (0.15, 0.9)
    assert elastic.max_cost_share == pytest.approx(0.7)
    assert trial.pruning.schedule.blocks == (1, 2, 4)
    given = config.model_copy(update={"elastic": ElasticConfig(lowest_keep_rate=0.3)})
    own = elastic_trial(given, space, budget=budget(config), dense_ms=9.8, latency=None)
    assert own.elastic.lowest_keep_rate == 0.3


def test_settings_are_explored_by_elastic_trials_and_schedules_by_the_others(tmp_path):
    config = experiment(tmp_path)
    whole = SearchSpace(config, tabulated.GEOMETRY)
    trial = elastic_trial(config, whole, budget=budget(config), dense_ms=9.8, latency=None)
    settings = settings_space(config, tabulated.GEOMETRY, trial)
    schedules = schedule_space(config, tabulated.GEOMETRY, None, trial)
    assert settings.names == ("distillation",)
    assert {*settings.names, *schedules.names} == {*whole.names}
    assert not {*settings.names} & {*schedules.names}


def test_a_search_without_keep_rates_is_refused(tmp_path):
    config = experiment(tmp_path)
    space = config.search.space.model_copy(update={"stage_keep_rates": None})
    config = config.model_copy(update={"search": config.search.model_copy(update={"space": space})})
    with pytest.raises(ConfigError, match=r"explores no keep rates: explore search\.space\.stage_keep_rates"):
        elastic_trial(
            config, SearchSpace(config, tabulated.GEOMETRY), budget=budget(config), dense_ms=9.8, latency=None
        )


def test_elastic_weights_are_fetched_from_where_checkpoints_are_published(tmp_path):
    config = experiment(tmp_path)
    config = config.model_copy(update={"study": config.study.model_copy(update={"checkpoints": str(tmp_path / "far")})})
    run(config).finish()
    study = read_study(tmp_path / "toy")
    schedules = [t for t in study.trials if t.origin in {Origin.CONTENDER, Origin.SAMPLER}]
    best = max(study.elastic, key=lambda t: t.top1)
    folder = tmp_path / "toy" / "trials" / str(best.number)
    starts = {t.config["start"]["path"] for t in schedules}
    assert starts == {str(folder / "checkpoint-000003" / "weights.safetensors")}
    TrialConfig.model_validate(schedules[0].config).start.check()
    rates = {t.config["training"]["lr"] / best.config["training"]["lr"] for t in schedules}
    assert rates == {config.search.elastic.contender_lr_scale}
    assert {t.config["start"]["backbone_share"] for t in schedules} == {"by_dropped"}


def test_a_study_that_goes_on_draws_as_it_did(tmp_path):
    """It keeps every key of its file, those that were left out among them."""
    config = experiment(tmp_path)
    kept = validate(config.model_dump(mode="json"), source="the study")
    first, again = (
        elastic_trial(
            each, SearchSpace(each, tabulated.GEOMETRY), budget=budget(each), dense_ms=9.8, latency=None
        ).elastic
        for each in (config, kept)
    )
    assert first == again
    assert first.max_cost_share < 1.0


ELASTIC_SPACE = {"sandwich_share": {"low": 0.1, "high": 0.9}, "teacher": {"choices": ["original", "dense"]}}


def _with_elastic_space(config, elastic):
    values = config.model_dump(mode="json")
    values["search"]["space"]["elastic"] = elastic
    return validate(values, source="test")


def test_elastic_settings_are_explored_and_those_of_the_best_are_gone_on_from(tmp_path):
    config = _with_elastic_space(experiment(tmp_path, elastic={"num_trials": 4}), ELASTIC_SPACE)
    run(config).finish()
    elastic = read_study(tmp_path / "toy").elastic
    assert all({"sandwich_share", "teacher", "distillation"} == t.params.keys() for t in elastic)
    for trial in elastic:
        own = trial.config["elastic"]
        assert (own["sandwich_share"], own["teacher"]) == (trial.params["sandwich_share"], trial.params["teacher"])
    assert (elastic[0].params["sandwich_share"], elastic[0].params["teacher"]) == (0.5, "original")
    assert len({t.params["sandwich_share"] for t in elastic}) == 4
    whole = SearchSpace(config, tabulated.GEOMETRY)
    assert not {"sandwich_share", "teacher"} & {*whole.names}


def test_elastic_settings_need_no_schedule_in_the_file(tmp_path):
    config = _with_elastic_space(experiment(tmp_path), ELASTIC_SPACE)
    values = config.model_dump(mode="json")
    values["pruning"]["base_keep_rate"] = None
    config = validate(values, source="test")
    space = SearchSpace(config, tabulated.GEOMETRY)
    trial = elastic_trial(config, space, budget=budget(config), dense_ms=9.8, latency=None)
    assert "teacher" in settings_space(config, tabulated.GEOMETRY, trial).names


@pytest.mark.parametrize(
    ("search", "elastic", "message"),
    [
        ({"mode": "schedule"}, ELASTIC_SPACE, r"which search\.mode = 'schedule' has none of"),
        ({"elastic": {"num_trials": 1}}, ELASTIC_SPACE, r"search\.elastic\.num_trials = 1: raise it"),
        ({}, {"sandwich_share": {"low": 0.5, "high": 1.5}}, r"must lie in 0 to 1, but got 0\.5 to 1\.5"),
        ({}, {"teacher": {"choices": ["nobody"]}}, r"must choose among original, dense, but got one of nobody"),
        ({}, {"num_priced": {"low": 1.0, "high": 2.0}}, r"one of sandwich_share, teacher was required"),
        ({}, {"teacher": {"choices": ["dense"], "when": {"num_selectors": [1]}}}, r"elastic\.teacher takes no `when`"),
    ],
)
def test_elastic_settings_that_nothing_explores_are_refused(tmp_path, search, elastic, message):
    with pytest.raises(ConfigError, match=message):
        _with_elastic_space(experiment(tmp_path, **search), elastic)


RATES = {"stage_keep_rates": {"low": 0.2, "high": 0.9}}
RATIO = {"losses": {"ratio": {"low": 0.1, "high": 4.0}}}


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({}, True),  # whose usual space has keep rates
        ({"space": RATES}, True),
        ({"space": {"base_keep_rate": {"low": 0.2, "high": 0.9}}}, True),
        ({"space": RATIO}, False),
        ({"space": RATIO, "mode": "elastic"}, True),
        ({"space": RATES, "mode": "schedule"}, False),
    ],
)
def test_a_search_has_elastic_trials_where_keep_rates_are_explored(search, expected):
    assert SearchConfig.model_validate(search).has_elastic_trials(TokenForm.GATHERED) == expected


def test_elastic_settings_without_keep_rates_are_refused():
    space = RATIO | {"elastic": {"sandwich_share": {"low": 0.0, "high": 1.0}}}
    with pytest.raises(ValidationError, match=r"a search of no keep rates has none: explore space\.stage_keep"):
        SearchConfig.model_validate({"mode": "auto", "space": space})


@pytest.mark.parametrize(("losses", "expected"), [({}, 1), ({"distillation": {"low": 0.1, "high": 1.0}}, 3)])
def test_there_are_several_elastic_trials_where_they_have_settings_to_explore(tmp_path, losses, expected):
    config = experiment(tmp_path, elastic={"num_trials": None})
    space = config.search.space.model_copy(update={"losses": SpaceConfig.model_validate({"losses": losses}).losses})
    config = config.model_copy(update={"search": config.search.model_copy(update={"space": space, "num_trials": 2})})
    run(config).finish()
    assert len(read_study(tmp_path / "toy").elastic) == expected


@pytest.fixture(scope="module")
def short_front(tmp_path_factory):
    """A finished search whose schedules were trained further for 2 epochs, where training.epochs = 4."""
    config = experiment(tmp_path_factory.mktemp("runs"), num_trials=3)
    run(config).finish()
    return config, read_study(config.study.directory / "toy")


@pytest.mark.parametrize("epochs", [3, 4])
def test_a_front_of_fewer_epochs_goes_on_only_to_more_than_training_epochs_and_that_is_said(short_front, epochs):
    config, study = short_front
    told = (
        rf"has trials of 2 epochs, .* elastic weights, while training\.epochs = 4; more than 4 were required, "
        rf"but got {epochs}\. .* `spvit-search finish toy --epochs {epochs}`"
    )
    for trials in (None, "+2"):
        with pytest.raises(UsageError, match=told):
            extended(config, study, trials=trials, epochs=epochs)


def test_fewer_epochs_than_the_whole_front_has_are_refused_by_what_the_experiment_says(short_front):
    config, study = short_front
    with pytest.raises(UsageError, match=r"has training\.epochs = 4; more were required, but got 2$"):
        extended(config, study, trials=None, epochs=2)


def test_an_extension_that_was_interrupted_may_be_asked_for_again(tmp_path):
    config = experiment(tmp_path, num_trials=3)
    run(config).finish()
    longer, terms = extended(config, read_study(tmp_path / "toy"), trials=None, epochs=6)
    run(longer, make_driver(longer, terms=terms), max_reports=1)
    again, terms = extended(longer, read_study(tmp_path / "toy"), trials="+1", epochs=6)
    run(again, make_driver(again, terms=terms)).finish()
    study = read_study(tmp_path / "toy")
    prolonged = {t.continues for t in study.finished if t.origin is Origin.CONTINUED}
    assert prolonged == set(study.generations[0].continued)
    assert len(study.generations) == 1


def test_epochs_that_change_nothing_are_refused(tmp_path):
    config = experiment(tmp_path, num_trials=3, elastic={"contender_epochs": 8})
    values = config.model_dump(mode="json")
    values["pruning"]["base_keep_rate"] = None  # no baseline, which has fewer
    config = validate(values, source="test")
    run(config).finish()
    study = read_study(tmp_path / "toy")
    with pytest.raises(UsageError, match=r"has 8 epochs or more, .* have 8 as before; more than 8 .* but got 6"):
        extended(config, study, trials=None, epochs=6)
    assert extended(config, study, trials=None, epochs=10)[1].continued == tuple(t.number for t in front_trials(study))


def _first_schedules(config, num):
    run(config).finish()
    study = read_study(config.study.directory / "toy")
    return [t for t in study.trials if t.origin not in {Origin.ELASTIC, Origin.BASELINE}][:num]


def test_warm_starts_of_the_users_choice_are_trained_from_elastic_weights_before_contenders(tmp_path):
    own = [{"label": "ours", "keep_rates": [0.6, 0.5, 0.4]}]
    config = experiment(tmp_path, num_concurrent=1, num_trials=4, warm_starts=["spvit", "geometric"], enqueue=own)
    trials = _first_schedules(config, 4)
    assert [t.origin for t in trials] == [Origin.ENQUEUED, Origin.WARM_START, Origin.WARM_START, Origin.CONTENDER]
    assert [t.label for t in trials[:3]] == ["ours", "spvit, scaled to fit", "geometric, just within the budget"]
    assert all(t.config["start"] is not None and t.num_epochs == 2 for t in trials)


@pytest.mark.parametrize("chosen", [{}, {"warm_starts": True}, {"warm_starts": False}])
def test_contenders_replace_the_usual_warm_starts(tmp_path, chosen):
    trials = _first_schedules(experiment(tmp_path, num_concurrent=1, num_trials=3, **chosen), 3)
    assert {t.origin for t in trials} == {Origin.CONTENDER}


def test_starts_that_are_added_when_estimates_are_not_trusted_any_more_are_trained(tmp_path):
    search = {"num_concurrent": 1, "elastic": {"num_bands": 6, "min_compared": 3}}
    run(experiment(tmp_path, num_trials=5, **search), sign=-1.0).finish()
    num_before = len(read_study(tmp_path / "toy").trials)
    own = [{"label": "ours", "keep_rates": [0.6, 0.5, 0.4]}]
    more = experiment(tmp_path, num_trials=7, enqueue=own, warm_starts=["spvit"], **search)
    run(more, sign=-1.0).finish()
    added = read_study(tmp_path / "toy").trials[num_before:]
    assert [t.origin for t in added] == [Origin.ENQUEUED, Origin.WARM_START]
    assert added[0].label == "ours"
