"""The table `[search.space]` of an experiment file: which values a search explores. No Optuna, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from spvit.options import SelectorKind
from spvit.schedule import PackageMode
from trainers.config import FrozenConfig, LossWeights, TrainingConfig


class FloatRange(FrozenConfig):
    """A number between two bounds."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, but got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, but got {self.low}")
        return self


class IntRange(FrozenConfig):
    """A whole number between two bounds."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"low must not exceed high, but got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, but got {self.low}")
        return self


class Choice(FrozenConfig):
    """One of several values."""

    choices: tuple[bool | int | float | str, ...] = Field(min_length=1)


def _form_of(domain: Any) -> str | None:
    """Which form its author meant, so that only that form's complaints are heard; None for what is no table."""
    if isinstance(domain, IntRange | FloatRange | Choice):
        return type(domain).__name__
    if not isinstance(domain, dict):
        return None
    if "choices" in domain:
        return "Choice"
    return "IntRange" if "type" in domain else "FloatRange"


Domain = Annotated[
    Annotated[IntRange, Tag("IntRange")] | Annotated[FloatRange, Tag("FloatRange")] | Annotated[Choice, Tag("Choice")],
    Discriminator(_form_of),
]


class SpaceConfig(FrozenConfig):
    """What a search explores. Keys of `losses` and `training` are those of the tables of the same name.

    `pruning` chooses among forms of selectors: `selector` and `package`.
    """

    base_keep_rate: FloatRange | None = None
    stage_keep_rates: FloatRange | None = Field(
        default=None, description="One cumulative rate per stage; each is drawn at or below the one before."
    )
    pruning: dict[str, Choice] = Field(
        default_factory=dict,
        description=(
            "Forms of selectors to choose among: `selector` and `package`. `head_weighting` is not explored: a latency "
            "table prices one."
        ),
    )
    losses: dict[str, Domain] = Field(default_factory=dict)
    training: dict[str, Domain] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.base_keep_rate is not None and self.stage_keep_rates is not None:
            raise ValueError("explore base_keep_rate or stage_keep_rates, not both")
        rates = self.base_keep_rate or self.stage_keep_rates
        if rates is not None and not (rates.low > 0 and rates.high <= 1):
            raise ValueError(f"keep rates lie in (0, 1], but got {rates.low} to {rates.high}")
        for key, choice in self.pruning.items():
            _check_form(key, choice)
        for owner, domains in ((LossWeights, self.losses), (TrainingConfig, self.training)):
            for key in domains:
                if key not in owner.model_fields:
                    raise ValueError(f"unknown key {key!r}: one of {', '.join(owner.model_fields)} was required")
        return self


FORMS: Mapping[str, type[StrEnum]] = MappingProxyType({"selector": SelectorKind, "package": PackageMode})


def _check_form(key: str, choice: Choice) -> None:
    if key == "head_weighting":
        raise ValueError(
            "pruning.head_weighting cannot be explored, as a latency table prices one of them: set it in [pruning], "
            "in a study for each"
        )
    if key not in FORMS:
        raise ValueError(f"unknown key {key!r} in pruning: one of {', '.join(FORMS)} was required")
    known = [str(form) for form in FORMS[key]]
    for value in choice.choices:
        if value not in known:
            raise ValueError(f"pruning.{key} must be one of {', '.join(known)}, but got {value!r}")
