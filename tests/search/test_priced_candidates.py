"""Schedules finished straight from elastic weights: simulated trainings, real files and storage."""

from dataclasses import replace

import elastic_study
import pytest
import tabulated
from exported_study import as_elastic, trained_study
from finished_study import table

from search.budget import price_from
from search.choosing import binomial
from search.commands.show import detail_text
from search.elastic_front import best_elastic
from search.elastic_start import elastic_start, start_within
from search.experiment import validate
from search.finishing import FinishDriver, choices_to_finish, finished_trials
from search.priced_candidates import PricedStudy, is_candidate, lift_points, with_priced
from search.rank_agreement import RankAgreement
from search.records import Origin, StudyRecord, TrialRecord, TrialState
from search.results import trial_row
from search.selection import choose_trial
from search.study import read_study
from search.trial_detail import trial_detail
from search.trial_identity import network_identity
from search.trial_pair import trial_pair
from search.verify import Expected
from search.verify.facts import Facts
from search.verify.trials import duplicates, run_twice
from spvit.errors import CheckpointError, UsageError
from trainers.config import TrialConfig

EPOCHS = 5


def to_finish(study: StudyRecord, epochs: int, top: int) -> list[TrialRecord]:
    """What `finish` takes."""
    return [choice.trial for choice in choices_to_finish(study, binomial(study), epochs=epochs, top=top)]


def priced_study(config):
    return PricedStudy(
        study=read_study(config.study.directory / "toy"),
        experiment=config,
        directory=config.study.directory / "toy",
        geometry=tabulated.GEOMETRY,
        price=tabulated.price,
    )


def finish_driver(config, chosen):
    return tabulated.make_driver(config, driver_type=FinishDriver, chosen=chosen, epochs=EPOCHS)


def searched(tmp_path, mode, **search):
    config = elastic_study.experiment(tmp_path, mode=mode, **search)
    elastic_study.run(config).finish()
    return config


@pytest.fixture(params=["elastic", "auto"])
def config(tmp_path, request):
    return searched(tmp_path, request.param)


def candidates(study):
    return [trial for trial in study.trials if is_candidate(trial)]


def test_candidates_are_what_was_priced_and_nobody_trained(config):
    priced = priced_study(config)
    found = candidates(priced.with_candidates(epochs=EPOCHS))
    best = best_elastic(priced.study.trials)
    networks = {network_identity(each.schedule.plan(tabulated.GEOMETRY)) for each in best.priced}
    assert 0 < len(found) <= len(networks)
    assert {t.number for t in found} == set(range(len(priced.study.trials), len(priced.study.trials) + len(found)))
    for trial in found:
        schedule = TrialConfig.model_validate(trial.config).pruning.schedule
        assert network_identity(schedule.plan(tabulated.GEOMETRY)) in networks
        assert trial.latency.high_ms <= priced.study.max_latency_ms
        assert trial.config["start"]["path"].endswith(f"trials/{best.number}/checkpoint-000003/weights.safetensors")
        assert trial.config["training"]["epochs"] == EPOCHS
        assert trial.estimated_top1 == pytest.approx(elastic_study.top1(schedule.keep_rates), abs=1.0)
        assert trial.top1 == trial.estimated_top1 + lift_points(priced.study.trials)


def test_a_lower_latency_leaves_fewer_candidates(config):
    priced = priced_study(config)
    all_of_them = candidates(priced.with_candidates(epochs=EPOCHS))
    limit_ms = sorted(trial.latency.high_ms for trial in all_of_them)[1]
    some = candidates(priced.with_candidates(epochs=EPOCHS, max_latency_ms=limit_ms))
    assert [t.config for t in some] == [t.config for t in all_of_them if t.latency.high_ms <= limit_ms]


def test_what_trainings_add_to_estimates_is_added_to_what_is_expected(tmp_path):
    config = searched(tmp_path, "auto")
    study = read_study(tmp_path / "toy")
    further = [t for t in study.trials if t.estimated_top1 is not None]
    assert lift_points(study.trials) == pytest.approx(sum(t.top1 - t.estimated_top1 for t in further) / len(further))
    assert lift_points(study.elastic) == 0.0
    tried = {(t.keep_counts, t.blocks) for t in further}
    found = candidates(priced_study(config).with_candidates(epochs=EPOCHS))
    assert not tried & {(t.keep_counts, t.blocks) for t in found}


def test_chosen_ones_are_trained_from_elastic_weights_and_recorded_as_finished(config, tmp_path):
    before = read_study(tmp_path / "toy")
    known = priced_study(config).with_candidates(epochs=EPOCHS)
    chosen = [trial for trial in to_finish(known, EPOCHS, 40) if is_candidate(trial)][:3]
    driver = finish_driver(config, chosen)
    elastic_study.run(config, driver)
    assert driver.is_finished
    driver.finish()
    after = read_study(tmp_path / "toy")
    finished = finished_trials(after, chosen, EPOCHS)
    assert len(finished) == 3
    for trial, candidate in zip(finished, chosen, strict=True):
        assert (trial.origin, trial.continues, trial.state) == (Origin.FINISHED, None, TrialState.COMPLETE)
        assert (trial.keep_counts, trial.latency) == (candidate.keep_counts, candidate.latency)
        assert (trial.num_epochs, trial.estimated_top1) == (EPOCHS, candidate.estimated_top1)
        assert trial.config == candidate.config
    assert after.end == before.end
    assert RankAgreement.of(after.trials) == RankAgreement.of(before.trials)
    assert choose_trial(after, number=finished[0].number) == finished[0]
    facts = Facts(study=after)
    assert [*run_twice(facts, Expected()), *duplicates(facts)] == []


def test_without_schedules_that_were_trained_further_estimates_compete_with_each_other_alone(tmp_path):
    config = searched(tmp_path, "elastic")
    known = priced_study(config).with_candidates(epochs=EPOCHS)
    assert {t.origin for t in read_study(tmp_path / "toy").finished} == {Origin.BASELINE}
    [chosen] = to_finish(known, EPOCHS, 1)
    assert is_candidate(chosen)
    assert chosen.top1 == max(t.top1 for t in candidates(known))


@pytest.mark.parametrize("num_reports", [0, 1, 7])
def test_what_was_killed_goes_on_and_what_is_done_is_not_done_again(config, tmp_path, num_reports):
    def chosen():
        known = priced_study(config).with_candidates(epochs=EPOCHS)
        return [trial for trial in to_finish(known, EPOCHS, 40) if is_candidate(trial)][:2]

    first = chosen()
    elastic_study.run(config, finish_driver(config, first), max_reports=num_reports)  # finish() is never called
    assert [t.config for t in chosen()] == [t.config for t in first]
    driver = finish_driver(config, chosen())
    elastic_study.run(config, driver)
    driver.finish()
    once = read_study(tmp_path / "toy")
    assert len(finished_trials(once, first, EPOCHS)) == 2
    assert finish_driver(config, chosen()).is_finished
    assert read_study(tmp_path / "toy").trials == once.trials


def test_estimates_that_results_contradict_make_no_candidates(tmp_path):
    config = elastic_study.experiment(tmp_path, elastic={"min_compared": 3})
    elastic_study.run(config, sign=-1.0).finish()
    priced = priced_study(config)
    assert priced.with_candidates(epochs=EPOCHS) == priced.study


def test_an_elastic_trial_is_no_model_that_could_be_named(config):
    study = read_study(config.study.directory / "toy")
    told = r"trial 0 of study 'toy' trained one set of weights for many schedules.*export toy --schedules"
    with pytest.raises(UsageError, match=told):
        choose_trial(study, number=0)


def test_an_elastic_trial_is_shown_and_compared_as_what_it_is(config):
    study = read_study(config.study.directory / "toy")
    text = detail_text(trial_detail(study, 0), with_config=False)
    assert "the mean over all budgets of the best schedule within each" in text
    assert "one set of weights for every schedule up to" in text
    assert "patches" not in text
    assert not any(key.startswith("keep") and key[4:].isdigit() for key in trial_row(study.trials[0], study))
    with pytest.raises(UsageError, match="trial 0 of study 'toy' trained one set of weights for many schedules"):
        trial_pair(study, study.trials[0], study.finished[0], None)


def test_weights_are_found_where_the_study_is_now(config, tmp_path):
    study = priced_study(config)
    start = elastic_start(config, best_elastic(study.study.trials), study.directory)
    moved = tmp_path / "moved"
    study.directory.rename(moved)
    found = start_within(moved, start).start
    found.check()
    assert found.path.is_relative_to(moved)
    assert start_within(tmp_path / "elsewhere", start) == start


def test_elastic_weights_that_are_gone_are_said_to_be(config):
    priced = priced_study(config)
    nowhere = replace(priced, directory=config.study.directory / "elsewhere")
    with pytest.raises(CheckpointError, match=r"holds no whole checkpoint; .* name trials with `finish --trial`"):
        nowhere.with_candidates(epochs=EPOCHS)


def test_candidates_are_priced_by_the_studys_own_table(tmp_path):
    study = as_elastic(trained_study(tmp_path), 0)
    config = validate(study.experiment, source="test")
    table().save(config.study.directory / "small" / "latency_table.json")
    found = candidates(with_priced(study, config, epochs=2))
    best = best_elastic(study.trials)
    price = price_from(table())
    admitted = {
        plan.block_tokens: price(plan)
        for plan in (each.schedule.plan(table().geometry) for each in best.priced)
        if price(plan).high_ms <= study.max_latency_ms
    }
    assert len(found) == len(admitted) > 0
    for trial in found:
        plan = TrialConfig.model_validate(trial.config).pruning.schedule.plan(table().geometry)
        assert trial.latency == admitted[plan.block_tokens]


def test_a_study_without_elastic_weights_needs_no_table(tmp_path):
    study = trained_study(tmp_path)
    assert with_priced(study, validate(study.experiment, source="test"), epochs=2) is study
