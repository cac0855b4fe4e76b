"""Spaces with open numbers and positions, conditions, and equal trials: what is asked, and what it means."""

import optuna
import pytest
import tabulated
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config import ExperimentConfig
from search.driver import Idle
from search.experiment import validate
from search.records import Origin, TrialState
from search.search_config import SamplerName
from search.space import SearchSpace
from search.trained_params import trained_params
from spvit.errors import ConfigError
from spvit.options import SelectorKind
from spvit.schedule import Level, TokenGeometry
from trainers.config import TrialConfig

RATES = {"stage_keep_rates": {"low": 0.15, "high": 0.9}}
RICH = {
    **RATES,
    "num_selectors": {"type": "int", "low": 1, "high": 3},
    "blocks": {"low": 1, "high": 5},
    "pruning": {"selector": {"choices": ["multi_head", "class_attention"]}},
    "losses": {"distillation": {"choices": [0.0, 0.5]}, "distillation_temperature": {"low": 0.5, "high": 4.0}},
    "training": {
        "temperature": {"low": 0.5, "high": 2.0},
        "freeze_epochs": {"type": "int", "low": 0, "high": 2},
        "mixup": {"choices": [0.0, 0.8], "when": {"num_selectors": [2, 3]}},
    },
}


def experiment(directory, space, **search):
    return tabulated.experiment(directory, space=space, **search)


def space_of(directory, space, geometry=tabulated.GEOMETRY):
    return SearchSpace(experiment(directory, space), geometry)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return space_of(tmp_path_factory.mktemp("rich"), RICH)


def drawn(space, seed):
    """What a random trial asks for, and what it means."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return space.suggest(trial), trial.params


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000))
def test_every_draw_means_the_same_when_it_is_read_back(rich, seed):
    config, params = drawn(rich, seed)
    assert rich.trial_config(params) == config
    assert rich.trial_config(rich.params_of(config.pruning.schedule)).pruning.schedule.blocks == (
        config.pruning.schedule.blocks
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000))
def test_a_trial_asks_only_for_what_has_an_effect(rich, seed):
    config, params = drawn(rich, seed)
    num = params["num_selectors"]
    learns = params["selector"] == "multi_head"
    assert len(config.pruning.schedule.stages) == num
    assert [f"block{k}_share" in params for k in (1, 2, 3)] == [num >= k for k in (1, 2, 3)]
    assert [f"keep{k}_share" in params for k in (2, 3)] == [num >= k for k in (2, 3)]
    assert ("temperature" in params, "freeze_epochs" in params) == (learns, learns)
    assert ("distillation_temperature" in params) == (params["distillation"] > 0)
    assert ("mixup" in params) == (num > 1)
    if num == 1:
        assert config.training.mixup == rich.default.training.mixup


def test_without_a_parameter_that_is_asked_for_nothing_is_guessed(rich):
    _, params = drawn(rich, 3)
    with pytest.raises(KeyError):
        rich.trial_config({name: value for name, value in params.items() if name != "keep1"})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_what_was_trained_has_parameters_of_its_own_branch(rich, seed):
    config, params = drawn(rich, seed)
    back = trained_params(params, config, rich)
    assert back.keys() == params.keys()
    assert rich.identity(rich.trial_config(back)) == rich.identity(config)


def identity(space, **params):
    return space.identity(space.trial_config(params))


def test_one_network_trained_alike_is_one_trial_however_it_is_written(tmp_path):
    modes = {"package": {"choices": ["single", "per_selector", "none"]}}
    structure = {**RATES, "num_selectors": {"choices": [1, 3]}}
    space = space_of(tmp_path, {**structure, "pruning": modes, "losses": {"ratio": {"low": 0.1, "high": 4.0}}})
    one = {"num_selectors": 1, "keep1": 0.5, "ratio": 1.0}
    assert identity(space, package="single", **one) == identity(space, package="per_selector", **one)
    assert identity(space, package="none", **one) != identity(space, package="single", **one)
    three = {"num_selectors": 3, "keep1": 0.6, "keep2_share": 0.5, "keep3_share": 0.5, "ratio": 1.0}
    single = identity(space, package="single", **three)
    assert single != identity(space, package="per_selector", **three)
    assert single != identity(space, package="single", **three | {"ratio": 2.0})


def test_settings_without_effect_tell_no_trials_apart(tmp_path):
    space = space_of(tmp_path, {**RATES, "pruning": {"selector": {"choices": ["class_attention", "light"]}}})
    config = space.trial_config({"keep1": 0.5, "keep2_share": 0.5, "keep3_share": 0.5, "selector": "class_attention"})
    other = config.model_copy(update={"training": config.training.model_copy(update={"temperature": 3.0})})
    assert space.identity(other) == space.identity(config)
    learned = {"pruning": config.pruning.model_copy(update={"selector": SelectorKind.LIGHT})}
    assert space.identity(other.model_copy(update=learned)) != space.identity(config.model_copy(update=learned))


@pytest.mark.parametrize("sampler", list(SamplerName))
def test_a_whole_search_of_a_rich_space_with_every_sampler(tmp_path, sampler):
    config = experiment(tmp_path, RICH, sampler=sampler, num_trials=6, num_startup_trials=4, warm_starts=False)
    driver = tabulated.make_driver(config)
    tabulated.run(driver)
    trials = [t for t in tabulated.make_store(config).trials if t.origin is not Origin.BASELINE]
    space = SearchSpace(config, tabulated.GEOMETRY)
    assert len(trials) == 6
    assert len({space.identity(TrialConfig.model_validate(t.config)) for t in trials}) == 6
    assert all(t.latency.high_ms <= tabulated.make_store(config).record().max_latency_ms for t in trials)
    assert len({t.params["num_selectors"] for t in trials}) > 1
    assert driver.suggest() is Idle.FINISHED


def test_a_search_of_a_rich_space_goes_on_as_if_it_had_never_stopped(tmp_path):
    config = experiment(tmp_path, RICH, num_trials=5, num_startup_trials=3, warm_starts=False)
    store, proposer = tabulated.make_store(config), tabulated.make_proposer(config)
    for number in range(4):
        store.start(proposer.propose(number))
        proposer.end(store.complete(number, 60 + store.trial(number).latency.mean_ms))
    rebuilt = tabulated.make_proposer(config)
    rebuilt.restore(store.trials, proposer.rejections)
    assert rebuilt.propose(4) == proposer.propose(4)
    assert all(trial.state is TrialState.COMPLETE for trial in store.trials)


def test_lists_of_blocks_are_chosen_from(tmp_path):
    space = space_of(tmp_path, {**RATES, "blocks": {"choices": [[1, 2, 4], [2, 4], [3]]}})
    for blocks in ((1, 2, 4), (2, 4), (3,)):
        params = {"blocks": "-".join(map(str, blocks)), "keep1": 0.5, "keep2_share": 0.5, "keep3_share": 0.5}
        assert space.trial_config(params).pruning.schedule.blocks == blocks
    assert {t.pruning.schedule.blocks for t in space.fastest()} == {(1, 2, 4), (2, 4), (3,)}


def test_a_base_rate_of_the_file_serves_any_number_of_selectors(tmp_path):
    space = space_of(tmp_path, {"num_selectors": {"type": "int", "low": 1, "high": 4}})
    assert space.trial_config({"num_selectors": 2}).pruning.schedule.keep_rates == (0.7, 0.7**2)


def test_nothing_is_cheaper_than_the_fastest(rich):
    cheapest = min(tabulated.price(rich.network_of(trial)).mean_ms for trial in rich.fastest())
    costs = [tabulated.price(rich.network_of(drawn(rich, seed)[0])).mean_ms for seed in range(60)]
    assert cheapest <= min(costs)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"training": {"freeze_epochs": {"low": 0, "high": 5}}},
            r"freeze_epochs takes whole numbers: write \{ type",
        ),
        ({"num_selectors": {"type": "int", "low": 0, "high": 3}}, r"num_selectors must be whole numbers, 1 or more"),
        ({"blocks": {"choices": [[3, 2]]}}, r"must rise from 0 on, but got \[3, 2\]"),
        ({"blocks": {"choices": [[1]]}, "num_selectors": {"choices": [1]}}, r"follows from blocks\.choices"),
        ({"losses": {"ratio": {"low": 1, "high": 2, "when": {"lr": [1]}}}}, r"losses\.ratio: `when` names 'lr'"),
        (
            {
                "pruning": {"selector": {"choices": ["light", "multi_head"]}},
                "losses": {"ratio": {"low": 1, "high": 2, "when": {"selector": ["heavy"]}}},
            },
            r"needs values that selector may have \(one of light, multi_head\), but got \['heavy'\]",
        ),
        ({"stage_keep_rates": {"low": 0.2, "high": 0.9, "when": {"selector": ["light"]}}}, r"takes no `when`"),
    ],
)
def test_what_a_space_may_not_say_is_refused_by_its_key(tmp_path, space, message):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"] = space
    with pytest.raises(ConfigError, match=message):
        validate(values, source="a test")


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ({**RATES, "blocks": {"choices": [[2, 6]]}}, {}, r"blocks 0 to 5, but got \[2, 6\]"),
        ({**RATES, "blocks": {"low": 4}}, {}, r"room for 3 selectors .* but 4 to 5 was given"),
        ({**RATES, "num_selectors": {"type": "int", "low": 1, "high": 9}}, {}, r"9 selectors were asked for"),
        ({"blocks": {"low": 1}}, {"pruning": {"blocks": [1], "stage_keep_rates": [0.5]}}, r"need keep rates for any"),
        (
            {**RATES, "training": {"temperature": {"low": 1, "high": 2}}},
            {"pruning": {"selector": "class_attention"}},
            r"explores temperature, which no trial would make use of",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_anything_starts(tmp_path, space, changes, message):
    values = tabulated.experiment(tmp_path, space=space).model_dump(mode="json") | changes
    with pytest.raises(ConfigError, match=message):
        SearchSpace(ExperimentConfig.model_validate(values), tabulated.GEOMETRY)


def test_bounds_of_many_parameters_are_all_looked_at(tmp_path):
    """Of ten parameters the first one is wrong at its upper end alone, which the first 256 combinations never reach."""
    keys = ("warmup_epochs", "weight_decay", "noise_scale", "temperature", "backbone_lr_scale", "cutmix", "mixup")
    training = {"mix_probability": {"choices": [0.5, 2.0]}, **{key: {"low": 0.1, "high": 0.2} for key in keys}}
    with pytest.raises(ConfigError, match=r"mix_probability"):
        space_of(tmp_path, {**RATES, "training": training})


PIT = TokenGeometry.of_levels([Level(num_blocks=n, num_patches=p) for n, p in ((2, 729), (6, 196), (4, 49))])


@pytest.mark.parametrize(
    "geometry", [TokenGeometry(depth=12, num_patches=196), TokenGeometry(depth=16, num_patches=196), PIT]
)
def test_without_a_space_the_backbones_own_is_explored(tmp_path, geometry):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"], values["pruning"] = {}, {"base_keep_rate": 0.7}
    space = SearchSpace(ExperimentConfig.model_validate(values), geometry)
    assert set(space.names) == {"keep1", "keep2_share", "keep3_share", "ratio", "distillation", "lr"}
    levels = {geometry.level_of(block) for block in space.stage_rates.blocks}
    assert levels == set(range(len(geometry.levels)))
    for seed in range(20):
        config, _ = drawn(space, seed)
        assert space.network_of(config).block_tokens
    assert len(levels) == 1 or space.stage_rates.blocks == (1, 3, 9)


def test_a_default_space_makes_no_teacher_and_teaches_no_selector_where_the_file_wants_none(tmp_path):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"] = {}
    values["pruning"] = {"base_keep_rate": 0.7, "selector": "class_attention"}
    values["losses"]["distillation"] = 0.0
    space = SearchSpace(ExperimentConfig.model_validate(values), tabulated.GEOMETRY)
    assert set(space.names) == {"keep1", "keep2_share", "keep3_share", "lr"}
