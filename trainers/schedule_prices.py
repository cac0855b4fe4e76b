"""What a schedule costs, for those who draw schedules while training: milliseconds by a table, or else arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np

from spvit.options import HeadWeighting, SelectorKind
from spvit.pruned_model import PrunedModel
from spvit.schedule import PruningSchedule, Selection, TokenPlan
from spvit.widths import macs_counter
from trainers.config import TrialConfig
from trainers.latency_target import LatencyCurve, LatencyTarget

SchedulePrice = Callable[[PruningSchedule], float]
"""Milliseconds of a batch or multiply-accumulates of an image: which of them does not matter to who compares."""


def price_of_schedules(config: TrialConfig, model: PrunedModel) -> SchedulePrice:
    """Prices by the trial's latency table where it knows one, else by multiply-accumulates.

    Raises:
        ConfigError: the table was measured without the trial's kind of selector.
    """
    pruning = config.pruning
    if config.latency is not None:
        price = _by_table(config.latency, pruning.selector, model.geometry.num_prefix_tokens)
    else:
        price = _by_macs(model.backbone, pruning.selector, pruning.head_weighting)
    by_plan = cache(price)
    return lambda schedule: by_plan(schedule.plan(model.geometry, model.package))


def _by_macs(backbone: Any, selector: SelectorKind, weighting: HeadWeighting) -> Callable[[TokenPlan], float]:
    return macs_counter(backbone, selector=selector, weighting=weighting)


def _by_table(target: LatencyTarget, selector: SelectorKind, num_prefix: int) -> Callable[[TokenPlan], float]:
    selections = target.selections_of(selector)

    def price(plan: TokenPlan) -> float:
        blocks = plan.block_tokens
        total = target.fixed_ms
        if target.last_block is not None and plan.selections:
            total += _ms(target.last_block, blocks[-1])
            blocks = blocks[:-1]
        total += sum(_ms(target.blocks, num_tokens) * len(list(equal)) for num_tokens, equal in groupby(blocks))
        return total + sum(_ms(selections, _num_reaching(selection, num_prefix)) for selection in plan.selections)

    return price


def _ms(curve: LatencyCurve, num_tokens: int) -> float:
    return float(np.interp(num_tokens, curve.num_tokens, curve.times_ms))


def _num_reaching(selection: Selection, num_prefix: int) -> int:
    return num_prefix + selection.num_candidates + selection.num_packages_before
