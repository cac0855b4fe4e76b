"""What is known of a family of backbones: how it is pruned and tested, or why it is not. Nothing here imports torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Pooling(StrEnum):
    """How a family's models get from tokens to logits, and what becomes of dropped tokens there."""

    CLASS = "class token"
    CLASS_AND_DISTILLATION = "class and distillation token"
    CLASS_AND_STRONGEST_PATCH = "class token, strongest kept patch"
    MEAN = "mean of kept patches and packages by mass"
    ATTENTION = "attention over kept patches and packages"


class Check(StrEnum):
    """What the tests do with a small model of every supported family."""

    FORMS = "masked = gathered"
    DENSE = "nothing dropped = timm"
    EXPORT = "export = original"
    GRADIENT = "loss reaches selectors"
    WARM_UP = "selectors are warmed up"


EVERY_CHECK = tuple(Check)


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Models of one kind.

    Attributes:
        name: what the family is called.
        pattern: a regular expression that whole names match, without the tag of their weights.
        examples: names of members, at least one.
        special: what is particular about the family.
        pooling: how logits are made; None where the family is refused.
        tested_with: what is tested with its examples; nothing where it is refused.
        refusal: why its tokens cannot be pruned, to follow the model's name; empty where they can.
    """

    name: str
    pattern: str
    examples: tuple[str, ...]
    special: str = ""
    pooling: Pooling | None = None
    tested_with: tuple[Check, ...] = EVERY_CHECK
    refusal: str = ""

    def __post_init__(self) -> None:
        if bool(self.refusal) != (self.pooling is None) or bool(self.refusal) == bool(self.tested_with):
            raise ValueError(f"A family is either refused with a reason or supported and tested, but got {self}.")
        if not self.examples or any(not self.has(name) for name in self.examples):
            raise ValueError(f"A family needs examples that its pattern matches, but got {self}.")

    @property
    def is_supported(self) -> bool:
        """Whether its models can be pruned."""
        return not self.refusal

    def has(self, name: str) -> bool:
        """Whether a name of timm, with or without a tag, belongs to this family."""
        return re.fullmatch(self.pattern, name.partition(".")[0]) is not None
