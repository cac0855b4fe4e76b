"""What a search tries before its sampler is asked: the user's own starting points, then warm starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.domains import contains, shown
from search.rate_space import BASE_RATE, FIRST_RATE
from search.records import Origin
from search.space import SearchSpace
from search.start_config import StartConfig
from search.warm_starts import Gauge, WarmStartName, geometric_starts, warm_starts
from spvit.errors import ConfigError
from spvit.schedule import TokenGeometry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A trial to begin with. One that is exact is trained as it is, without tokens that would cost nothing more."""

    params: Mapping[str, Any]
    label: str
    origin: Origin
    is_exact: bool


def named_starts(names: Sequence[WarmStartName], space: SearchSpace, gauge: Gauge) -> Iterator[Start]:
    """The warm starts of these names that the space holds and the budget admits."""
    if space.stage_rates is not None:
        found = warm_starts(_of_one_grid(names, space.geometry), space.stage_rates, gauge)
    elif space.base_rates is not None:
        found = geometric_starts(_of_one_grid(names, space.geometry), space.base_rates, gauge)
    else:
        return
    for start in found:
        params = space.params_of(start.schedule)
        yield Start(params=params, label=start.label, origin=Origin.WARM_START, is_exact=start.is_exact)


def enqueued_starts(starts: Sequence[StartConfig], space: SearchSpace) -> tuple[Start, ...]:
    """The user's own starting points as parameters of the space.

    Raises:
        ConfigError: one lies outside of the space; names the key.
    """
    return tuple(_enqueued(start, f"search.enqueue[{number}]", space) for number, start in enumerate(starts))


def starts_within(starts: Sequence[StartConfig], space: SearchSpace) -> tuple[StartConfig, ...]:
    """The user's own starting points without parameters that this space does not explore; says which.

    Elastic trials settle losses, training and form for the schedules that are trained further from their weights.
    """
    for number, start in enumerate(starts):
        if settled := [name for name in start.params if name not in space.domains]:
            logger.warning(
                "search.enqueue[%d]: %s are left out, as elastic trials settle them: search.mode = 'schedule' trains "
                "each schedule with settings of its own",
                number,
                ", ".join(settled),
            )
    kept = ({k: v for k, v in start.params.items() if k in space.domains} for start in starts)
    return tuple(start.model_copy(update={"params": params}) for start, params in zip(starts, kept, strict=True))


def _enqueued(start: StartConfig, key: str, space: SearchSpace) -> Start:
    _check_params(start, key, space)
    try:
        params = space.completed({**_schedule_params(start, key, space), **start.params})
    except KeyError as error:
        raise ConfigError(
            f"{key} needs keep_rates, or params.{error.args[0]}, which the search space explores"
        ) from None
    for name in start.params:
        if name not in params:
            raise ConfigError(
                f"{key}.params.{name} has no effect with the start's other settings, so it is not explored there: "
                f"leave it out"
            )
    label = start.label or f"start {key.rpartition('[')[2].removesuffix(']')}"
    return Start(params=params, label=label, origin=Origin.ENQUEUED, is_exact=True)


def _check_params(start: StartConfig, key: str, space: SearchSpace) -> None:
    for name, value in start.params.items():
        if name not in space.domains:
            raise ConfigError(
                f"{key}.params.{name}: no such parameter is explored; one of {', '.join(space.names)} was required"
            )
        if not contains(value, space.domains[name]):
            raise ConfigError(f"{key}.params.{name}: {shown(space.domains[name])} was required, but got {value!r}")


def _schedule_params(start: StartConfig, key: str, space: SearchSpace) -> dict[str, Any]:
    """Parameters of the schedule that a start names; of the file's own where it names none and the space holds it."""
    explored = {FIRST_RATE, BASE_RATE} & set(space.names)
    rates, blocks = start.keep_rates, start.blocks
    if rates is None:
        own = space.default.pruning.schedule
        if explored & start.params.keys() or not own.stages:
            return {}
        rates, blocks = own.keep_rates, own.blocks
    try:
        return {
            **space.structure.params_of(blocks or space.structure.usual(len(rates))),
            **(space.rate_params(rates) if explored else {}),
        }
    except ValueError as error:
        where = "keep_rates" if start.keep_rates is not None else "keep_rates (absent: those of [pruning])"
        raise ConfigError(f"{key}.{where}: {error}") from None


def _of_one_grid(names: Sequence[WarmStartName], geometry: TokenGeometry) -> Sequence[WarmStartName]:
    """Published schedules count the patches of one grid, so they mean nothing where a backbone pools them."""
    if len(geometry.levels) == 1:
        return names
    return [name for name in names if name not in {WarmStartName.DYNAMICVIT, WarmStartName.SPVIT}]
