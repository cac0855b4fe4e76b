"""Values that a search may choose from: a range of numbers or whole numbers, or a list. No Optuna, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from trainers.frozen_config import FrozenConfig

Scalar = bool | int | float | str


class Conditional(FrozenConfig):
    """What is explored only where others have certain values; elsewhere what the file says holds.

    `when` is by the name of another explored parameter, of which it lists values.
    """

    when: dict[str, tuple[Scalar, ...]] | None = None

    def is_asked(self, params: Mapping[str, Any]) -> bool:
        """Whether the parameters drawn so far ask for this one."""
        return all(name in params and params[name] in values for name, values in (self.when or {}).items())


class FloatRange(Conditional):
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


class IntRange(Conditional):
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


class Choice(Conditional):
    """One of several values."""

    choices: tuple[Scalar, ...] = Field(min_length=1)


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
Discrete = Annotated[
    Annotated[IntRange, Tag("IntRange")] | Annotated[Choice, Tag("Choice")],
    Discriminator(lambda domain: "Choice" if _form_of(domain) == "Choice" else domain and "IntRange"),
]
"""A domain of whole numbers."""


def extremes(domain: Domain) -> tuple[Any, ...]:
    """Both ends of a range; every value of a choice."""
    return domain.choices if isinstance(domain, Choice) else (domain.low, domain.high)


def nearest(value: Any, domain: Domain) -> Any:
    """The value itself, or what the domain has nearest to it."""
    if isinstance(domain, Choice):
        return value if value in domain.choices else domain.choices[0]
    return domain.low if value is None else min(max(value, domain.low), domain.high)


def contains(value: Any, domain: Domain) -> bool:
    """Whether a value, such as a user names, is one of the domain's."""
    match domain:
        case Choice():
            return value in domain.choices
        case IntRange():
            return isinstance(value, int) and not isinstance(value, bool) and domain.low <= value <= domain.high
        case FloatRange():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and domain.low <= value <= domain.high


def shown(domain: Domain) -> str:
    """The domain as a sentence names it: `0.1 to 4.0`, `one of light, multi_head`."""
    if isinstance(domain, Choice):
        return f"one of {', '.join(map(str, domain.choices))}"
    kind = "a whole number from " if isinstance(domain, IntRange) else ""
    return f"{kind}{domain.low} to {domain.high}"
