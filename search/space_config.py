"""The table `[search.space]` of an experiment file: which values a search explores. No Optuna, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Self, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from search.domains import Choice, Discrete, Domain, FloatRange, IntRange, Scalar, contains, extremes, shown
from spvit.options import SelectorKind
from spvit.schedule import PackageMode
from trainers.config import ElasticTeacher, FrozenConfig, LossWeights, TrainingConfig


class BlockRange(FrozenConfig):
    """The blocks that selectors may stand before, each before one of its own; the last one where `high` is absent."""

    low: int = Field(default=1, ge=0)
    high: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high is not None and self.low > self.high:
            raise ValueError(f"low must not exceed high, but got {self.low} and {self.high}")
        return self


class BlockChoice(FrozenConfig):
    """One of several lists of blocks."""

    choices: tuple[tuple[int, ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for blocks in self.choices:
            if not blocks or min(blocks) < 0 or list(blocks) != sorted(set(blocks)):
                raise ValueError(f"blocks of selectors must rise from 0 on, but got {list(blocks)}")
        return self


def _block_form(domain: Any) -> str | None:
    if isinstance(domain, BlockRange | BlockChoice):
        return type(domain).__name__
    if not isinstance(domain, dict):
        return None
    return "BlockChoice" if "choices" in domain else "BlockRange"


BlockDomain = Annotated[
    Annotated[BlockRange, Tag("BlockRange")] | Annotated[BlockChoice, Tag("BlockChoice")], Discriminator(_block_form)
]


class SpaceConfig(FrozenConfig):
    """What a search explores; where this names nothing, what is sensible for the backbone (docs/space.md).

    Keys of `losses` and `training` are those of the tables of the same name. `pruning` chooses among forms of
    selectors: `selector` and `package`. `elastic` has those of `[elastic]` that elastic trials explore.
    """

    base_keep_rate: FloatRange | None = Field(
        default=None, description="The first of the cumulative rates r, r^2, r^3, ..., one for each selector."
    )
    stage_keep_rates: FloatRange | None = Field(
        default=None, description="One cumulative rate per stage; each is drawn at or below the one before."
    )
    num_selectors: Discrete | None = Field(
        default=None, description="How many selectors; as many as pruning.blocks if absent."
    )
    blocks: BlockDomain | None = Field(
        default=None,
        description="Which blocks selectors stand before; those of pruning.blocks, or equal parts, if absent.",
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
    elastic: dict[str, Domain] = Field(
        default_factory=dict,
        description="For elastic trials alone, by `search.mode`: `sandwich_share`, a range of shares, and `teacher`, "
        "`original` and `dense` to choose from.",
    )

    @property
    def explores_rates(self) -> bool:
        """Whether keep rates are explored: those that are named, or the usual ones where the table is empty."""
        return self.explores_nothing or self.base_keep_rate is not None or self.stage_keep_rates is not None

    @property
    def explores_nothing(self) -> bool:
        """Whether the table is absent or empty."""
        structure = (self.base_keep_rate, self.stage_keep_rates, self.num_selectors, self.blocks)
        return not any((*structure, self.pruning, self.losses, self.training, self.elastic))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.base_keep_rate is not None and self.stage_keep_rates is not None:
            raise ValueError("explore base_keep_rate or stage_keep_rates, not both")
        rates = self.base_keep_rate or self.stage_keep_rates
        if rates is not None and not (rates.low > 0 and rates.high <= 1):
            raise ValueError(f"keep rates lie in (0, 1], but got {rates.low} to {rates.high}")
        if self.num_selectors is not None:
            _check_number(self.num_selectors, self.blocks)
        for key, choice in self.pruning.items():
            _check_form(key, choice)
        for key, domain in self.elastic.items():
            _check_elastic(key, domain)
        for section, owner, domains in (
            ("losses", LossWeights, self.losses),
            ("training", TrainingConfig, self.training),
        ):
            for key, domain in domains.items():
                _check_key(section, owner, key, domain)
        return self

    @model_validator(mode="after")
    def _conditions_can_hold(self) -> Self:
        always: dict[str, Domain | None] = {
            "base_keep_rate": self.base_keep_rate,
            "stage_keep_rates": self.stage_keep_rates,
            "num_selectors": self.num_selectors,
        }
        always |= {f"pruning.{key}": choice for key, choice in self.pruning.items()}
        always |= {f"elastic.{key}": domain for key, domain in self.elastic.items()}
        if conditional := next((key for key, d in always.items() if d is not None and d.when is not None), None):
            raise ValueError(f"{conditional} takes no `when`: only keys of losses and training do")
        for section, domains in (("losses", self.losses), ("training", self.training)):
            for key, domain in domains.items():
                for name, values in (domain.when or {}).items():
                    _check_condition(f"{section}.{key}", name, values, self._discrete)
        return self

    @property
    def _discrete(self) -> Mapping[str, Domain]:
        """What a `when` may name: parameters with single values that have no `when` themselves."""
        number = {} if self.num_selectors is None else {"num_selectors": self.num_selectors}
        domains: dict[str, Domain] = {**number, **self.pruning, **self.losses, **self.training}
        return {key: d for key, d in domains.items() if d.when is None and not isinstance(d, FloatRange)}


ELASTIC_KEYS = ("sandwich_share", "teacher")
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


def _check_elastic(key: str, domain: Domain) -> None:
    if key not in ELASTIC_KEYS:
        raise ValueError(f"unknown key {key!r} in elastic: one of {', '.join(ELASTIC_KEYS)} was required")
    known = [str(teacher) for teacher in ElasticTeacher]
    if key == "teacher" and not (isinstance(domain, Choice) and set(domain.choices) <= set(known)):
        raise ValueError(f"elastic.teacher must choose among {', '.join(known)}, but got {shown(domain)}")
    if key == "sandwich_share" and not all(_is_share(value) for value in extremes(domain)):
        raise ValueError(f"elastic.sandwich_share must lie in 0 to 1, but got {shown(domain)}")


def _is_share(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0


def _check_number(number: IntRange | Choice, blocks: BlockRange | BlockChoice | None) -> None:
    if isinstance(blocks, BlockChoice):
        raise ValueError("num_selectors follows from blocks.choices: leave it out, or give a range of blocks")
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in extremes(number)):
        raise ValueError(f"num_selectors must be whole numbers, 1 or more, but got {shown(number)}")


def _check_key(section: str, owner: type[FrozenConfig], key: str, domain: Domain) -> None:
    if key not in owner.model_fields:
        raise ValueError(f"unknown key {key!r}: one of {', '.join(owner.model_fields)} was required")
    kinds = set(get_args(owner.model_fields[key].annotation)) | {owner.model_fields[key].annotation}
    if isinstance(domain, FloatRange) and int in kinds and float not in kinds:
        meant = f'{{ type = "int", low = {domain.low:g}, high = {domain.high:g} }}'
        raise ValueError(f"{section}.{key} takes whole numbers: write {meant}")


def _check_condition(key: str, name: str, values: tuple[Scalar, ...], discrete: Mapping[str, Domain]) -> None:
    """Refuses a `when` that never holds.

    Raises:
        ValueError: it names no explored parameter with single values, or values that this does not have.
    """
    if name not in discrete:
        known = ", ".join(discrete) or "none"
        raise ValueError(
            f"{key}: `when` names {name!r}, but an explored parameter with single values (`choices` or whole numbers) "
            f"and without a `when` of its own was required: {known}"
        )
    if not values or not all(contains(value, discrete[name]) for value in values):
        raise ValueError(
            f"{key}: `when` needs values that {name} may have ({shown(discrete[name])}), but got {list(values)}"
        )
