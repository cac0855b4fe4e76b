"""Which trials are one: the same network, trained alike. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spvit.schedule import TokenPlan

NUM_DIGITS = 3


def trial_identity(values: Mapping[str, Any], plan: TokenPlan) -> str:
    """Equal for two trials of the same network whose other settings are equal to 3 significant digits.

    Args:
        values: a trial as plain values.
        plan: its network in integer tokens.
    """
    network = [(s.block, s.num_kept, s.num_packages_after) for s in plan.selections]
    return json.dumps(_rounded({**values, "pruning": {**values["pruning"], "schedule": network}}), sort_keys=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{NUM_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
