"""The keep rates of a trial's selectors as a sampler's parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isclose
from typing import Any

from search.domains import FloatRange
from search.space_config import SpaceConfig
from search.space_parameter import Parameter
from search.structure import Structure
from search.warm_starts import Rates
from spvit.errors import ConfigError
from spvit.schedule import PruningSchedule

FIRST_RATE = "keep1"
BASE_RATE = "base_keep_rate"


@dataclass(frozen=True, kw_only=True, slots=True)
class RateSpace:
    """Which keep rates a search may use.

    Stage keep rates are explored as `keep1`, the cumulative rate of the first stage in [low, high], and `keep2_share`,
    `keep3_share`, ...: how much of the span from `low` to the rate before is kept, in [0, 1]. So rates never rise, none
    falls below `low`, and every parameter has fixed bounds, without which multivariate TPE and Gaussian processes
    cannot relate parameters to each other.

    Attributes:
        space: what is explored: `stage_keep_rates`, `base_keep_rate` or neither.
        structure: of the selectors.
        default: the file's own schedule.
        fixed_base: the file's own base keep rate, for whatever selectors there are; None where it names none.
    """

    space: SpaceConfig
    structure: Structure
    default: PruningSchedule
    fixed_base: float | None

    def __post_init__(self) -> None:
        has_rates = self.space.stage_keep_rates or self.space.base_keep_rate or self.fixed_base
        if self._has_open_structure and not has_rates:
            raise ConfigError(
                "search.space.blocks and search.space.num_selectors need keep rates for any number of selectors: "
                "explore search.space.stage_keep_rates or search.space.base_keep_rate, or set pruning.base_keep_rate"
            )

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter that may be asked for, in the order of asking."""
        if self.space.base_keep_rate is not None:
            yield Parameter(name=BASE_RATE, domain=self.space.base_keep_rate)
        if self.space.stage_keep_rates is not None:
            share = FloatRange(low=0.0, high=1.0)
            yield Parameter(name=FIRST_RATE, domain=self.space.stage_keep_rates)
            for stage in range(2, max(self.structure.numbers) + 1):
                yield Parameter(name=_share_name(stage), domain=share, stage=stage)

    @property
    def stage_rates(self) -> Rates | None:
        """What stage keep rates may be, at their usual blocks; None where the search does not explore them."""
        return self._rates(self.space.stage_keep_rates)

    @property
    def base_rates(self) -> Rates | None:
        """What the base keep rate may be, at the usual blocks; None where the search does not explore it."""
        return self._rates(self.space.base_keep_rate)

    def schedule(self, params: Mapping[str, Any]) -> PruningSchedule:
        """The schedule that parameters mean.

        Raises:
            KeyError: a parameter is missing that the others ask for.
        """
        if BASE_RATE in params:
            return PruningSchedule.from_base_rate(params[BASE_RATE], self.structure.blocks(params))
        if FIRST_RATE in params and self.space.stage_keep_rates is not None:
            blocks, low = self.structure.blocks(params), self.space.stage_keep_rates.low
            rates = [float(params[FIRST_RATE])]
            for stage in range(2, len(blocks) + 1):
                rates.append(min(rates[-1], low + params[_share_name(stage)] * (rates[-1] - low)))
            return PruningSchedule.from_keep_rates(rates, blocks)
        if self.fixed_base is not None and self._has_open_structure:
            return PruningSchedule.from_base_rate(self.fixed_base, self.structure.blocks(params))
        return self.default

    def params_of(self, rates: tuple[float, ...]) -> dict[str, Any]:
        """Parameters that mean these cumulative keep rates.

        Raises:
            ValueError: the rates lie outside of the space.
        """
        bounds = self.space.stage_keep_rates or self.space.base_keep_rate
        if bounds is None or not rates:
            raise ValueError(f"keep rates {list(rates)} are not explored")
        if self.space.base_keep_rate is not None:
            return self._base_params(rates, self.space.base_keep_rate)
        if not bounds.low <= min(rates) <= max(rates) <= bounds.high:
            raise ValueError(f"keep rates must lie in {bounds.low} to {bounds.high}, but got {list(rates)}")
        params: dict[str, Any] = {FIRST_RATE: rates[0]}
        for stage, (before, rate) in enumerate(pairwise(rates), start=2):
            params[_share_name(stage)] = (rate - bounds.low) / (before - bounds.low) if before > bounds.low else 1.0
        return params

    def _base_params(self, rates: tuple[float, ...], bounds: FloatRange) -> dict[str, Any]:
        is_geometric = all(isclose(rate, rates[0] ** n, rel_tol=1e-3) for n, rate in enumerate(rates, start=1))
        if not is_geometric or not bounds.low <= rates[0] <= bounds.high:
            raise ValueError(
                f"keep rates must be r, r^2, ... with r from {bounds.low} to {bounds.high}, but got {list(rates)}"
            )
        return {BASE_RATE: rates[0]}

    def _rates(self, bounds: FloatRange | None) -> Rates | None:
        return None if bounds is None else Rates(blocks=self._usual_blocks, low=bounds.low, high=bounds.high)

    @property
    def _usual_blocks(self) -> tuple[int, ...]:
        """Those of the file where the space has them, else as many as there may be nearest to that."""
        num_own = len(self.structure.own)
        return self.structure.usual(min(self.structure.numbers, key=lambda num: (abs(num - num_own), num)))

    @property
    def _has_open_structure(self) -> bool:
        return self.space.num_selectors is not None or self.space.blocks is not None


def _share_name(stage: int) -> str:
    return f"keep{stage}_share"
