"""Looks at the bounds of a search space before anything is trained: whether trials may have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search.domains import Domain, extremes
from spvit.errors import ConfigError

if TYPE_CHECKING:
    from search.space import SearchSpace

MAX_CORNERS = 256


class UnusedParametersError(ConfigError):
    """Parameters that no trial of a space asks for; `names` says which."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"[search.space] explores {', '.join(names)}, which no trial would make use of with what else it may have "
            f"(selectors, weights, mixing): leave that out, or widen what it depends on"
        )
        self.names = tuple(names)


def check_corners(space: SearchSpace) -> None:
    """Refuses bounds that no trial may have, and parameters that no trial asks for.

    Raises:
        ConfigError: some combination of bounds is refused by `[losses]` or `[training]`, or by the backbone.
        UnusedParametersError: a parameter has an effect in none of them.
    """
    used: set[str] = set()
    for corner in corners(space.domains):
        asked = space.asked(corner)
        used.update(asked)
        try:
            space.network_of(space.trial_config(corner))
        except ValidationError as error:
            raise ConfigError(_explain({name: corner[name] for name in asked}, error.errors()[0])) from None
        except ValueError as error:
            raise ConfigError(f"pruning.blocks do not fit the model: {error}") from None
    if unused := [name for name in space.names if name not in used]:
        raise UnusedParametersError(unused)


def corners(domains: Mapping[str, Domain]) -> Iterator[dict[str, Any]]:
    """All combinations of bounds where they are few, else those of every two parameters, the rest at their first."""
    bounds = {name: extremes(domain) for name, domain in domains.items()}
    if prod(len(values) for values in bounds.values()) <= MAX_CORNERS:
        yield from (dict(zip(bounds, corner, strict=True)) for corner in product(*bounds.values()))
        return
    first = {name: values[0] for name, values in bounds.items()}
    yield from (first | {name: value} for name, values in bounds.items() for value in values)
    for one, other in combinations(bounds, 2):
        yield from (first | {one: a, other: b} for a, b in product(bounds[one], bounds[other]))


def _explain(params: Mapping[str, Any], problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    drawn = ", ".join(f"{name} = {value}" for name, value in params.items())
    return (
        f"[search.space] reaches a trial that is not allowed ({drawn}): {where}: {problem['msg']}. "
        f"Narrow the bounds of that parameter or change what it depends on."
    )
