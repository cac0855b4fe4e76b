"""Configurations that may be proposed: within the cap, allowed and new, each with its latency."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.parameters import ParameterSpace, Params
from spvit.errors import NothingFeasibleError

LatencyFunction = Callable[[Mapping[str, Any]], float]
"""Latency in milliseconds of a configuration."""

NUM_POOLS = 30
"""Pools drawn without one feasible configuration before giving up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Configurations and their latencies, (num_candidates,), in milliseconds."""

    params: Sequence[Mapping[str, Any]]
    latencies_ms: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.params)


class CandidateSource:
    """Draws candidates for one trial.

    Args:
        space: what is drawn from.
        latency_ms: a candidate whose latency is not finite is dropped.
        max_latency_ms: slower candidates are dropped.
        accepts: candidates for which it is false are dropped.
        fixed: parameters that every candidate has.
        known: configurations that were tried; they are dropped as long as there are others.
    """

    def __init__(
        self,
        space: ParameterSpace,
        *,
        latency_ms: LatencyFunction,
        max_latency_ms: float = math.inf,
        accepts: Callable[[Mapping[str, Any]], bool] | None = None,
        fixed: Mapping[str, Any] | None = None,
        known: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._space = space
        self._latency_ms = latency_ms
        self._max_latency_ms = max_latency_ms
        self._accepts = accepts
        self._fixed = fixed or {}
        self._seen = {_identity(params) for params in known}
        self.unpriced: list[Params] = []
        """Drawn configurations that lack a parameter to tell their latency: they belong to branches not seen yet."""

    def pool(self, rng: np.random.Generator, num: int) -> Candidates:
        """About `num` random draws, those of them that qualify; tried ones again if nothing else is left.

        Raises:
            NothingFeasibleError: nothing qualifies.
        """
        for _ in range(NUM_POOLS):
            if len(pool := self._qualifying(self._space.draw(rng, num))):
                return pool
        self._seen.clear()
        if len(pool := self._qualifying(self._space.draw(rng, num))):
            return pool
        raise NothingFeasibleError(
            f"none of {NUM_POOLS * num} configurations drawn at random is allowed and within max_latency_ms = "
            f"{self._max_latency_ms:g}; raise it or widen the search space towards faster configurations"
        )

    def near(self, rng: np.random.Generator, parents: Iterable[Mapping[str, Any]], num_each: int) -> Candidates:
        """Neighbours of configurations that qualify and were not drawn before."""
        return self._qualifying(new for parent in parents for new in self._space.perturbed(rng, parent, num_each))

    def _qualifying(self, drawn: Iterable[Params]) -> Candidates:
        priced = [(params, self._price(params)) for params in self._unseen(drawn)]
        kept = [
            (params, latency_ms)
            for params, latency_ms in priced
            if math.isfinite(latency_ms)
            and latency_ms <= self._max_latency_ms
            and (self._accepts is None or self._accepts(params))
        ]
        return Candidates(params=[params for params, _ in kept], latencies_ms=np.array([ms for _, ms in kept], float))

    def _unseen(self, drawn: Iterable[Params]) -> Iterable[Params]:
        for params in drawn:
            params.update({name: value for name, value in self._fixed.items() if name in params})
            if (identity := _identity(params)) not in self._seen:
                self._seen.add(identity)
                yield params

    def _price(self, params: Params) -> float:
        latency_ms = price(self._latency_ms, params)
        if latency_ms is None:
            self.unpriced.append(params)
        return math.inf if latency_ms is None else latency_ms


def price(latency_ms: LatencyFunction, params: Mapping[str, Any]) -> float | None:
    """A configuration's latency; None if parameters are missing to tell it."""
    try:
        return float(latency_ms(params))
    except KeyError:
        return None


def _identity(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True, default=str)
