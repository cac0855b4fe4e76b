"""Which trials are one: the same network, trained alike. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from search.conditions import without_effect
from spvit.schedule import TokenPlan

NUM_DIGITS = 3


def network_identity(plan: TokenPlan) -> tuple[tuple[int, int, int], ...]:
    """Equal for two networks of the same tokens."""
    return tuple((s.block, s.num_kept, s.num_packages_after) for s in plan.selections)


def trial_identity(values: Mapping[str, Any], plan: TokenPlan) -> str:
    """Equal for two trials of the same network whose other settings, those that have an effect, are nearly equal.

    Args:
        values: a trial as plain values.
        plan: its network in integer tokens.
    """
    told = {section: dict(table) if isinstance(table, Mapping) else table for section, table in values.items()}
    if told.get("start"):
        told["start"].pop("path")  # what the file holds counts, not where it lies
    for section, key in without_effect(values, has_selectors=bool(plan.selections)):
        told[section].pop(key, None)
    pruning = told.pop("pruning")
    told["network"] = network_identity(plan)
    if plan.selections:  # the mode of packages is told by their numbers: with one selector, two modes are one
        told["selector"] = (pruning["selector"], pruning["head_weighting"])
    return json.dumps(_rounded(told), sort_keys=True)


def _rounded(value: Any) -> Any:
    """Plain values, of the types that JSON knows, with fewer digits."""
    kind = type(value)
    if kind is float:
        return float(f"{value:.{NUM_DIGITS}g}")
    if kind is dict:
        return {key: _rounded(inner) for key, inner in value.items()}
    if kind is list or kind is tuple:
        return [_rounded(inner) for inner in value]
    return value
