"""Configurations drawn from a search space, each range evenly, as the random sampler draws them. No Optuna."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from search.budget import LatencyBudget, Price
from search.records import Latency
from search.space import SearchSpace
from spvit.schedule import TokenPlan
from trainers.config import TrialConfig

NUM_DRAWS = 4000
Z_90 = 1.6448536269514722
"""Half the width of a normal distribution's middle 90 %, in standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One configuration, its network and what that costs."""

    config: TrialConfig
    plan: TokenPlan
    latency: Latency


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareEstimate:
    """A share of a space (0 to 1) as drawn, with its 90 % interval."""

    share: float
    low: float
    high: float


def draws(space: SearchSpace, price: Price, *, num: int = NUM_DRAWS, seed: int = 0) -> tuple[Draw, ...]:
    """Configurations of a space; the same ones for the same seed."""
    rng = Random(seed)  # noqa: S311 - no secret
    configs = [space.suggest(cast("Any", _RandomTrial(rng))) for _ in range(num)]
    plans = [space.network_of(config) for config in configs]
    prices = {plan: price(plan) for plan in dict.fromkeys(plans)}
    return tuple(
        Draw(config=config, plan=plan, latency=prices[plan]) for config, plan in zip(configs, plans, strict=True)
    )


def feasible_share(drawn: Sequence[Draw], budget: LatencyBudget) -> ShareEstimate:
    """How much of what is drawn is within a budget."""
    return share_estimate(sum(budget.admits(draw.latency) for draw in drawn), len(drawn))


def share_estimate(num_hits: int, num: int) -> ShareEstimate:
    """A share with Wilson's interval, which stays sensible near 0 and 1 (Wilson, 1927)."""
    share, squared = num_hits / num, Z_90**2
    middle = (share + squared / (2 * num)) / (1 + squared / num)
    half = Z_90 / (1 + squared / num) * math.sqrt(share * (1 - share) / num + squared / (4 * num**2))
    return ShareEstimate(share=share, low=max(0.0, middle - half), high=min(1.0, middle + half))


def estimated_networks(plans: Iterable[TokenPlan]) -> int:
    """At least about how many networks there are, from how many were drawn once and twice (Chao, 1984)."""
    times = Counter(Counter(plans).values())
    unseen = times[1] * (times[1] - 1) / (2 * (times[2] + 1))
    return round(sum(times.values()) + unseen)


class _RandomTrial:
    """What a space asks of a trial: a value for each parameter."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def suggest_float(self, _name: str, low: float, high: float, *, log: bool = False) -> float:
        if log:
            return min(high, max(low, math.exp(self._rng.uniform(math.log(low), math.log(high)))))
        return self._rng.uniform(low, high)

    def suggest_int(self, _name: str, low: int, high: int, *, log: bool = False) -> int:
        if log:
            return min(high, max(low, round(math.exp(self._rng.uniform(math.log(low - 0.5), math.log(high + 0.5))))))
        return self._rng.randint(low, high)

    def suggest_categorical(self, _name: str, choices: Sequence[Any]) -> Any:
        return self._rng.choice(choices)
