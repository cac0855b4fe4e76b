"""Trials by what they trained, so that those of several devices can be compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.records import TrialRecord
from search.space import SearchSpace
from trainers.config import TrialConfig


def comparable(trial: TrialRecord, space: SearchSpace) -> TrialRecord:
    """The trial by the parameters of what it trained, without what its latency term aimed at on its own device."""
    params = trained_params(trial.params, TrialConfig.model_validate(trial.config), space)
    return replace(trial, params=params, config={**trial.config, "latency": None})


def trained_params(params: Mapping[str, Any], config: TrialConfig, space: SearchSpace) -> Mapping[str, Any]:
    """The parameters that mean a trial's schedule; the nearest ones within the search space.

    A trial is drawn, and then given every token that costs nothing on its device: another device would give others.

    Args:
        params: as they were drawn.
        config: what was trained.
        space: what is explored.
    """
    rates = space.stage_rates
    if rates is None or not params:
        return params
    within = tuple(min(max(rate, rates.low), rates.high) for rate in config.pruning.schedule.keep_rates)
    return dict(params) | space.rate_params(within)
