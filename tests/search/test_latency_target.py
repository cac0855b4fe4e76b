"""A latency term gets the table and the budget that the search keeps to, or is refused before anything starts."""

import pytest
import tabulated
from pydantic import ValidationError

from search.config import ExperimentConfig
from search.space import SearchSpace
from trainers.config import LatencyTarget
from trainers.latency_target import LatencyCurve

CURVE = LatencyCurve(num_tokens=(2, 50), times_ms=(0.1, 1.0))
TARGET = LatencyTarget(budget_ms=3.0, fixed_ms=0.2, blocks=CURVE, selections={"multi_head": CURVE})


def experiment(tmp_path, *, explored=True, **latency):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    values["latency"] = values["latency"] | latency
    if explored:
        values["search"]["space"]["losses"]["latency"] = {"low": 0.1, "high": 2.0}
    return ExperimentConfig.model_validate(values)


def test_every_trial_carries_the_target_through_its_plain_values(tmp_path):
    space = SearchSpace(experiment(tmp_path), tabulated.GEOMETRY, TARGET)
    params = dict.fromkeys(space.names, 0.5)
    trial = space.trial_config(params)
    assert trial.losses.latency == 0.5
    assert trial.latency == TARGET


def test_term_without_a_budget_is_refused(tmp_path):
    with pytest.raises(ValidationError, match=r"latency term .* set latency\.max_latency_ms or"):
        experiment(tmp_path, max_latency_share=None)
    assert not experiment(tmp_path, explored=False, max_latency_share=None).has_latency_term
