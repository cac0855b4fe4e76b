from dataclasses import replace

import optuna
import pytest
import tabulated
from hypothesis import given, settings
from hypothesis import strategies as st

from search.budget import LatencyBudget
from search.config import ExperimentConfig
from search.feasible import check_feasible
from search.space import SearchSpace
from spvit.errors import ConfigError, NothingFeasibleError
from spvit.options import SelectorKind
from spvit.schedule import PackageMode

UNIT = st.floats(0.0, 1.0)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return SearchSpace(tabulated.experiment(tmp_path_factory.mktemp("space")), tabulated.GEOMETRY)


@settings(max_examples=50, deadline=None)
@given(keep1=st.floats(0.15, 0.9), shares=st.tuples(UNIT, UNIT), ratio=st.floats(0.1, 4.0))
def test_every_point_of_the_space_is_a_trial_within_its_bounds(space, keep1, shares, ratio):
    params = {"keep1": keep1, "keep2_share": shares[0], "keep3_share": shares[1], "ratio": ratio}
    config = space.trial_config(params)
    rates = config.pruning.schedule.keep_rates
    assert rates[0] == keep1
    assert all(0.15 <= rate <= 0.9 for rate in rates)
    assert list(rates) == sorted(rates, reverse=True)
    assert space.suggest(optuna.trial.FixedTrial(params)) == config


def test_identity_sees_integer_tokens_and_three_digits(space):
    params = {"keep1": 0.7, "keep2_share": 0.5, "keep3_share": 0.5, "ratio": 1.0}
    same = space.identity(space.trial_config(params))
    assert space.identity(space.trial_config(params | {"keep1": 0.7001, "ratio": 1.0001})) == same
    assert space.identity(space.trial_config(params | {"keep1": 0.75})) != same
    assert space.identity(space.trial_config(params | {"ratio": 1.01})) != same


def test_bounds_that_no_trial_may_have_are_refused_at_once(tmp_path):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"]["training"] = {"lr": {"low": 1e-6, "high": 1e-3}}
    with pytest.raises(ConfigError, match=r"lr = 1e-06.*min_lr .* must not exceed lr"):
        SearchSpace(ExperimentConfig.model_validate(values), tabulated.GEOMETRY)


def test_blocks_behind_the_last_one_are_refused(tmp_path):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["pruning"]["blocks"] = [1, 2, 6]
    with pytest.raises(ConfigError, match=r"pruning\.blocks do not fit the model: .*blocks 0 to 5"):
        SearchSpace(ExperimentConfig.model_validate(values), tabulated.GEOMETRY)


def test_a_budget_admits_by_the_upper_end_of_the_interval(space):
    latency = tabulated.dense()
    assert LatencyBudget(max_ms=latency.high_ms, source="here").admits(latency)
    assert not LatencyBudget(max_ms=latency.mean_ms, source="here").admits(latency)


def test_an_impossible_budget_is_named_before_anything_starts(space):
    with pytest.raises(NothingFeasibleError, match=r"within 3\.000 ms \(here\).*takes 3\.167 ms.*lower search"):
        check_feasible(space, tabulated.price, LatencyBudget(max_ms=3.0, source="here"))
    check_feasible(space, tabulated.price, LatencyBudget(max_ms=3.3, source="here"))


def choosing(tmp_path, **choices):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["search"]["space"]["pruning"] = {key: {"choices": list(forms)} for key, forms in choices.items()}
    return ExperimentConfig.model_validate(values)


def test_a_search_may_choose_among_forms_of_selectors(tmp_path):
    experiment = choosing(tmp_path, selector=["light", "multi_head"], package=["single", "none"])
    assert experiment.selector_kinds == (SelectorKind.MULTI_HEAD, SelectorKind.LIGHT)
    space = SearchSpace(experiment, tabulated.GEOMETRY)
    params = {
        "keep1": 0.7,
        "keep2_share": 0.5,
        "keep3_share": 0.5,
        "ratio": 1.0,
        "selector": "light",
        "package": "none",
    }
    config = space.trial_config(params)
    assert (config.pruning.selector, config.pruning.package) == (SelectorKind.LIGHT, PackageMode.NONE)
    assert space.suggest(optuna.trial.FixedTrial(params)) == config
    assert space.network_of(config).selector is SelectorKind.LIGHT
    assert (
        len({space.identity(space.trial_config(params | {"selector": kind})) for kind in ("light", "multi_head")}) == 2
    )
    assert len({(t.pruning.selector, t.pruning.package) for t in space.fastest()}) == 4


def test_feasibility_is_that_of_the_cheapest_form(tmp_path):
    space = SearchSpace(choosing(tmp_path, selector=["multi_head", "light"]), tabulated.GEOMETRY)

    def price(plan):
        added = 0.0 if plan.selector is SelectorKind.LIGHT else 1.0
        cost = tabulated.price(plan)
        return replace(cost, mean_ms=cost.mean_ms + added, low_ms=cost.low_ms + added, high_ms=cost.high_ms + added)

    check_feasible(space, price, LatencyBudget(max_ms=3.3, source="here"))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"selector": ["heavy"]}, r"pruning\.selector must be one of multi_head, .*'heavy'"),
        ({"blocks": [1]}, r"unknown key 'blocks' in pruning"),
        ({"head_weighting": ["senet", "mean"]}, r"head_weighting cannot be explored.*set it in \[pruning\]"),
    ],
)
def test_unknown_forms_are_refused(tmp_path, choices, message):
    with pytest.raises(ValueError, match=message):
        choosing(tmp_path, **choices)


EVERY_KIND = {
    "stage_keep_rates": {"low": 0.15, "high": 0.9},
    "pruning": {"selector": {"choices": ["light", "multi_head"]}, "package": {"choices": ["single", "none"]}},
    "losses": {
        "ratio": {"low": 0.1, "high": 4.0, "log": True},
        "distillation": {"choices": [0, 0.5]},  # a whole number among fractions
        "ratio_hinge": {"choices": [True, False]},
    },
    "training": {
        "lr": {"low": 1e-4, "high": 1e-3, "log": True},
        "freeze_epochs": {"type": "int", "low": 0, "high": 3},
        "precision": {"choices": ["float32", "auto"]},
        "clip_grad_norm": {"low": 0.5, "high": 2.0},
    },
}
BASE_RATE = {"base_keep_rate": {"low": 0.3, "high": 0.9}, "training": {"lr": {"low": 1e-4, "high": 1e-3}}}


@pytest.mark.parametrize("explored", [EVERY_KIND, BASE_RATE, {"losses": {"ratio": {"low": 0.1, "high": 4.0}}}])
def test_networks_and_identities_of_parameters_are_those_of_their_trials(tmp_path, explored):
    space = SearchSpace(tabulated.experiment(tmp_path, space=explored), tabulated.GEOMETRY)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for trial in (study.ask() for _ in range(60)):
        config = space.suggest(trial)
        network = space.network_of_params(trial.params)
        assert network == space.network_of(config)
        assert space.identity_of_params(trial.params, network) == space.identity(config)


def test_a_value_that_its_key_may_not_have_has_no_identity(space):
    params = {"keep1": 0.7, "keep2_share": 0.5, "keep3_share": 0.5, "ratio": -1.0}
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        space.identity_of_params(params, space.network_of_params(params))
