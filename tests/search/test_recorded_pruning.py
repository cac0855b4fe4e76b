"""The share of epochs that a pruner leaves of recorded curves."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import tabulated

from search.config import ExperimentConfig
from search.recorded_pruning import kept_share_of_curves
from search.records import Latency


@dataclass(frozen=True)
class Curve:
    curve: tuple[float, ...]
    latency: Latency = field(default_factory=lambda: Latency(mean_ms=5.0, low_ms=4.9, high_ms=5.1))
    params: Any = field(default_factory=dict)
    config: Any = field(default_factory=lambda: {"training": {"epochs": 12}})


def _experiment(tmp_path, **search):
    values = tabulated.experiment(tmp_path, **search).model_dump(mode="json")
    values["training"]["epochs"] = 12
    return ExperimentConfig.model_validate(values)


GOOD = Curve(tuple(70.0 + epoch for epoch in range(12)))
BAD = Curve(tuple(20.0 + epoch for epoch in range(12)))


def test_bad_trials_are_stopped_and_good_ones_train_on(tmp_path):
    kept = kept_share_of_curves([GOOD] * 20 + [BAD] * 20, _experiment(tmp_path), source="here")
    assert kept.source == "here"
    assert 0.4 < kept.share.middle < 0.7  # the good half in full, of the bad one those without enough peers yet


def test_without_a_pruner_every_epoch_is_trained(tmp_path):
    assert kept_share_of_curves([GOOD] * 20, _experiment(tmp_path, pruner="none"), source="") is None
    kept = kept_share_of_curves([GOOD] * 20, _experiment(tmp_path), source="")
    assert kept.share.middle == pytest.approx(1.0)


def test_too_few_curves_say_nothing(tmp_path):
    assert kept_share_of_curves([], _experiment(tmp_path), source="") is None
    assert kept_share_of_curves([GOOD], _experiment(tmp_path), source="") is None


def test_grace_is_scaled_to_the_recorded_length(tmp_path):
    config = _experiment(tmp_path, grace_epochs=6)
    kept = kept_share_of_curves([GOOD] * 20 + [BAD] * 20, config, source="")
    assert kept.share.middle > 0.4
    short = [Curve(curve.curve[:4]) for curve in [GOOD] * 20 + [BAD] * 20]
    assert kept_share_of_curves(short, config, source="").share.low < 1.0
