"""What elastic trials explore and what the schedules after them do: two spaces made of one."""

import logging
import tomllib

import elastic_study
import numpy as np
import pytest
import tabulated
from test_space_examples import EXAMPLES

from search.elastic_trial import check_elastic_spaces, elastic_trial, schedule_space, settings_space
from search.experiment import validate
from search.records import Origin, TrialState
from search.space import SearchSpace
from search.study import read_study
from spvit.errors import ConfigError
from spvit.options import SelectorKind
from spvit.schedule import TokenGeometry
from trainers.schedule_sampler import ScheduleSampler, ScheduleSpace

RATES = {"low": 0.2, "high": 0.9}
LR = {"low": 1e-4, "high": 1e-3, "log": True}
RATIO = {"low": 0.1, "high": 4.0}
KINDS = {"choices": ["multi_head", "class_attention"]}


def _experiment(directory, space, *, losses=None, training=None, **search):
    values = tabulated.experiment(directory, mode="auto", pruner="none").model_dump(mode="json")
    values["losses"] |= losses or {}
    values["training"] |= training or {}
    values["search"] |= {"space": {"stage_keep_rates": RATES, **space}, "num_trials": 3, **search}
    return validate(values, source="test")


def _spaces(config, kind=SelectorKind.MULTI_HEAD):
    """Names of what elastic trials explore, and of what the schedules after one with this selector do."""
    space = SearchSpace(config, tabulated.GEOMETRY)
    elastic = elastic_trial(config, space, budget=elastic_study.budget(config), dense_ms=10.0, latency=None)
    best = elastic.model_copy(update={"pruning": elastic.pruning.model_copy(update={"selector": kind})})
    settings = settings_space(config, tabulated.GEOMETRY, elastic)
    rest = schedule_space(config, tabulated.GEOMETRY, None, best)
    return set() if settings is None else set(settings.names), {n for n in rest.names if not n.startswith("keep")}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
@pytest.mark.parametrize("kind", SelectorKind)
def test_every_example_of_a_space_can_begin_with_elastic_trials(tmp_path, monkeypatch, number, kind):
    monkeypatch.setattr(tabulated, "GEOMETRY", TokenGeometry(depth=12, num_patches=196))
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["pruning"] = {"blocks": [3, 6, 9], "base_keep_rate": 0.7, "selector": str(kind)}
    given = tomllib.loads(EXAMPLES[number])
    values["search"] |= {"space": {}, **given.pop("search"), "mode": "auto"}
    for table, changes in given.items():
        values[table] |= changes
    try:
        config = validate(values, source=f"example {number}")
        space = SearchSpace(config, tabulated.GEOMETRY)
    except ConfigError:
        assert kind is SelectorKind.CLASS_ATTENTION  # which some examples have no use for
        return
    if config.has_elastic_trials:
        check_elastic_spaces(config, space)
        _check_drawn(config, space)


def _check_drawn(config, space):
    """All that elastic trials draw is in the search's space."""
    elastic = elastic_trial(config, space, budget=elastic_study.budget(config), dense_ms=1e9, latency=None)
    drawn = ScheduleSpace.from_config(elastic.elastic, elastic.pruning.schedule, space.geometry)
    sampler = ScheduleSampler(drawn, lambda schedule: float(sum(schedule.plan(space.geometry).block_tokens)))
    lowest = min(sum(space.network_of(trial).block_tokens) for trial in space.fastest())
    assert sampler.lowest == pytest.approx(lowest, rel=0.02)  # packages
    for schedule in sampler.spread(30, np.random.default_rng(0)):
        assert space.structure.admits(schedule.blocks)
        first = schedule.keep_rates[0]
        if space.stage_rates is None:
            assert schedule.keep_rates == pytest.approx([first**stage for stage in range(1, len(schedule.blocks) + 1)])


def test_many_blocks_of_few_patches_have_a_selector_each_that_drops_a_token(tmp_path):
    pruning = {"blocks": {"low": 1}, "stage_keep_rates": {"low": 0.8, "high": 0.95}}
    config = _experiment(tmp_path, pruning)
    space = SearchSpace(config, TokenGeometry(depth=12, num_patches=49))
    check_elastic_spaces(config, space)
    _check_drawn(config, space)


def test_what_means_one_schedule_s_counts_is_left_to_the_schedules(tmp_path):
    losses = {"ratio": RATIO, "ratio_per_image": {"choices": [True, False]}, "distillation": RATIO}
    config = _experiment(tmp_path, {"losses": losses}, losses={"ratio": 0.0})
    assert _spaces(config) == ({"distillation"}, {"ratio", "ratio_per_image"})


def test_schedules_with_selectors_that_learn_nothing_have_no_use_for_their_losses(tmp_path):
    config = _experiment(tmp_path, {"losses": {"ratio": RATIO}, "pruning": {"selector": KINDS}})
    assert _spaces(config, SelectorKind.CLASS_ATTENTION) == ({"selector"}, set())
    assert _spaces(config, SelectorKind.MULTI_HEAD) == ({"selector"}, {"ratio"})
    check_elastic_spaces(config, SearchSpace(config, tabulated.GEOMETRY))


def test_a_setting_that_depends_on_what_is_not_explored_with_it_has_the_file_s_own_value(tmp_path):
    number = {"type": "int", "low": 1, "high": 3}
    training = {"lr": {**LR, "when": {"num_selectors": [2, 3]}}, "noise_scale": {"low": 0.5, "high": 1.0}}
    config = _experiment(tmp_path, {"num_selectors": number, "training": training})
    assert _spaces(config)[0] == {"noise_scale"}


def test_masked_training_begins_with_no_elastic_trials_and_is_refused_where_these_are_asked_for(tmp_path):
    config = _experiment(tmp_path, {}, training={"form": "masked"})
    assert not config.has_elastic_trials
    asked = _experiment(tmp_path, {}, training={"form": "masked"}, mode="elastic")
    with pytest.raises(ConfigError, match=r"training.form = 'masked': 'gathered' was required"):
        check_elastic_spaces(asked, SearchSpace(asked, tabulated.GEOMETRY))


@pytest.mark.parametrize(
    "training", [{"epochs": {"type": "int", "low": 2, "high": 4}}, {"form": {"choices": ["gathered", "masked"]}}]
)
def test_what_elastic_weights_cannot_share_is_searched_schedule_by_schedule(tmp_path, training):
    assert not _experiment(tmp_path, {"training": training}).has_elastic_trials


@pytest.mark.usefixtures("few_candidates")
def test_a_start_of_the_user_s_is_trained_from_elastic_weights_without_what_these_settle(tmp_path, caplog):
    start = {"keep_rates": [0.6, 0.4, 0.3], "params": {"lr": 5e-4, "ratio": 2.0}}
    config = _experiment(tmp_path, {"losses": {"ratio": RATIO}, "training": {"lr": LR}}, enqueue=[start])
    with caplog.at_level(logging.WARNING):
        elastic_study.run(config).finish()
    trials = read_study(tmp_path / "toy").trials
    own = next(t for t in trials if t.origin is Origin.ENQUEUED)
    assert (own.state, own.params["ratio"]) == (TrialState.COMPLETE, 2.0)
    assert own.config["start"] is not None
    assert "search.enqueue[0]: lr are left out, as elastic trials settle them" in caplog.text


@pytest.mark.usefixtures("few_candidates")
def test_there_are_no_more_elastic_trials_than_settings(tmp_path):
    config = _experiment(
        tmp_path, {"losses": {"ratio_hinge": {"choices": [True, False]}}, "pruning": {"selector": KINDS}}
    )
    elastic_study.run(config).finish()
    elastic = read_study(tmp_path / "toy").elastic
    assert len(elastic) == 2
    assert {t.params["selector"] for t in elastic} == {"multi_head", "class_attention"}
