"""Configurations that may be proposed: within the cap, allowed and new, each with its latency."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.devices import Devices
from search.parameters import ParameterSpace, Params
from spvit.errors import NothingFeasibleError

NUM_POOLS = 30
"""Pools drawn without one feasible configuration before giving up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Configurations and their latencies, (num_candidates, num_devices), in milliseconds."""

    params: Sequence[Mapping[str, Any]]
    latencies_ms: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.params)


class CandidateSource:
    """Draws candidates for one trial.

    Args:
        space: what is drawn from.
        devices: candidates that these do not admit are dropped.
        accepts: candidates for which it is false are dropped.
        fixed: parameters that every candidate has.
        known: configurations that were tried; they are dropped as long as there are others.
    """

    def __init__(
        self,
        space: ParameterSpace,
        *,
        devices: Devices,
        accepts: Callable[[Mapping[str, Any]], bool] | None = None,
        fixed: Mapping[str, Any] | None = None,
        known: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._space = space
        self._devices = devices
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
            f"{self._devices.caps_text()}; raise it or widen the search space towards faster configurations"
        )

    def near(self, rng: np.random.Generator, parents: Iterable[Mapping[str, Any]], num_each: int) -> Candidates:
        """Neighbours of configurations that qualify and were not drawn before."""
        return self._qualifying(new for parent in parents for new in self._space.perturbed(rng, parent, num_each))

    def _qualifying(self, drawn: Iterable[Params]) -> Candidates:
        kept = list(self._qualified(drawn))
        latencies_ms = np.array([prices_ms for _, prices_ms in kept], dtype=float)
        return Candidates(
            params=[params for params, _ in kept], latencies_ms=latencies_ms.reshape(len(kept), len(self._devices))
        )

    def _qualified(self, drawn: Iterable[Params]) -> Iterator[tuple[Params, tuple[float, ...]]]:
        for params in self._unseen(drawn):
            prices_ms = self._devices.price(params)
            if prices_ms is None:
                self.unpriced.append(params)
            elif self._devices.admit(prices_ms) and (self._accepts is None or self._accepts(params)):
                yield params, prices_ms

    def _unseen(self, drawn: Iterable[Params]) -> Iterable[Params]:
        for params in drawn:
            params.update({name: value for name, value in self._fixed.items() if name in params})
            if (identity := _identity(params)) not in self._seen:
                self._seen.add(identity)
                yield params


def _identity(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True, default=str)
