"""How many selectors a trial has and where they stand, as a sampler's parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.domains import Choice, Domain, FloatRange, extremes
from search.positions import blocks_of, shares_of
from search.space_config import BlockChoice, BlockRange, SpaceConfig
from spvit.errors import ConfigError
from spvit.schedule import default_blocks

NUM_SELECTORS = "num_selectors"
BLOCKS = "blocks"
SHARE = FloatRange(low=0.0, high=1.0)

Blocks = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """Which selectors a search may place.

    Attributes:
        depth: blocks of the backbone.
        own: blocks of the file's own selectors.
        number: domain of the number of selectors; None where it is fixed or follows from a choice of blocks.
        positions: where they may stand; None where the number alone says it.
    """

    depth: int
    own: Blocks
    number: Domain | None = None
    positions: BlockRange | BlockChoice | None = None

    def __post_init__(self) -> None:
        lists = self.positions.choices if isinstance(self.positions, BlockChoice) else ()
        if behind := next((blocks for blocks in lists if max(blocks) >= self.depth), None):
            raise ConfigError(
                f"search.space.blocks must lie within the model, which has blocks 0 to {self.depth - 1}, "
                f"but got {list(behind)}"
            )
        if self.positions is None and len(self._evenly(max(self.numbers))) < max(self.numbers):
            raise ConfigError(
                f"search.space.num_selectors must leave a block for each selector, but the model has blocks 0 to "
                f"{self.depth - 1} and {max(self.numbers)} selectors were asked for"
            )

    @classmethod
    def of(cls, space: SpaceConfig, own: Blocks, depth: int) -> Structure:
        """The structure that a search space leaves open.

        Raises:
            ConfigError: the backbone has too few blocks.
        """
        if isinstance(space.blocks, BlockRange):
            high = depth - 1 if space.blocks.high is None else space.blocks.high
            room = high - space.blocks.low + 1
            most = len(own) if space.num_selectors is None else max(extremes(space.num_selectors))
            if high >= depth or room < most:
                raise ConfigError(
                    f"search.space.blocks must leave room for {most} selectors on a model with blocks 0 to "
                    f"{depth - 1}, but {space.blocks.low} to {high} was given"
                )
            positions = BlockRange(low=space.blocks.low, high=high)
            return cls(depth=depth, own=own, number=space.num_selectors, positions=positions)
        return cls(depth=depth, own=own, number=space.num_selectors, positions=space.blocks)

    @property
    def numbers(self) -> tuple[int, ...]:
        """How many selectors there may be."""
        if isinstance(self.positions, BlockChoice):
            return tuple(sorted({len(blocks) for blocks in self.positions.choices}))
        if self.number is None:
            return (len(self.own),)
        if isinstance(self.number, Choice):
            return tuple(sorted({int(value) for value in self.number.choices}))
        return tuple(range(int(self.number.low), int(self.number.high) + 1))

    @property
    def domains(self) -> Mapping[str, Domain]:
        """Every parameter that may be asked for, in the order of asking."""
        if isinstance(self.positions, BlockChoice):
            choices = tuple(dict.fromkeys(_named(blocks) for blocks in self.positions.choices))
            return {BLOCKS: Choice(choices=choices)} if len(choices) > 1 else {}
        domains: dict[str, Domain] = {} if self.number is None else {NUM_SELECTORS: self.number}
        if isinstance(self.positions, BlockRange):
            domains |= {share_name(stage): SHARE for stage in range(1, max(self.numbers) + 1)}
        return domains

    def num_stages(self, params: Mapping[str, Any]) -> int:
        """How many selectors parameters mean.

        Raises:
            KeyError: what tells it is not among them.
        """
        if isinstance(self.positions, BlockChoice):
            return len(self.blocks(params))
        return len(self.own) if self.number is None else int(params[NUM_SELECTORS])

    def blocks(self, params: Mapping[str, Any]) -> Blocks:
        """The block behind each selector.

        Raises:
            KeyError: what tells them is not among the parameters.
        """
        match self.positions:
            case BlockChoice(choices=choices):
                if not self.domains:
                    return choices[0]
                return tuple(int(block) for block in params[BLOCKS].split("-"))
            case BlockRange(low=low, high=int(high)):
                shares = [params[share_name(stage)] for stage in range(1, self.num_stages(params) + 1)]
                return blocks_of(shares, low, high)
            case _:
                return self._evenly(self.num_stages(params))

    def params_of(self, blocks: Blocks) -> dict[str, Any]:
        """Parameters that mean these blocks.

        Raises:
            ValueError: the space has no such selectors.
        """
        if not self.admits(blocks):
            raise ValueError(f"selectors before blocks {list(blocks)} are not in the search space")
        if isinstance(self.positions, BlockChoice):
            return {BLOCKS: _named(blocks)} if self.domains else {}
        params: dict[str, Any] = {} if self.number is None else {NUM_SELECTORS: len(blocks)}
        if isinstance(self.positions, BlockRange) and self.positions.high is not None:
            shares = shares_of(blocks, self.positions.low, self.positions.high)
            params |= {share_name(stage): share for stage, share in enumerate(shares, start=1)}
        return params

    def admits(self, blocks: Blocks) -> bool:
        """Whether the space has selectors just there."""
        match self.positions:
            case BlockChoice(choices=choices):
                return blocks in choices
            case BlockRange(low=low, high=int(high)):
                is_rising = list(blocks) == sorted(set(blocks))
                return len(blocks) in self.numbers and is_rising and low <= blocks[0] and blocks[-1] <= high
            case _:
                return len(blocks) in self.numbers and blocks == self._evenly(len(blocks))

    def usual(self, num: int) -> Blocks:
        """Where so many selectors usually stand: where the file has them, else in equal parts, as far as allowed.

        Raises:
            ValueError: there may not be so many.
        """
        candidates = [self.own, self._evenly(num)]
        if isinstance(self.positions, BlockChoice):
            candidates += self.positions.choices
        if isinstance(self.positions, BlockRange):
            candidates.append(blocks_of([0.5] * num, self.positions.low, self.positions.high or self.depth - 1))
        found = next((blocks for blocks in candidates if len(blocks) == num and self.admits(blocks)), None)
        if found is None:
            raise ValueError(f"the search space has {' or '.join(map(str, self.numbers))} selectors, but got {num}")
        return found

    def earliest(self) -> Iterator[dict[str, Any]]:
        """Parameters of each form that may be the cheapest: the earliest blocks of each number, or every choice."""
        if isinstance(self.positions, BlockChoice):
            yield from (self.params_of(blocks) for blocks in self.positions.choices)
        elif isinstance(self.positions, BlockRange):
            low = self.positions.low
            yield from (self.params_of(tuple(range(low, low + num))) for num in self.numbers)
        else:
            yield from (self.params_of(self._evenly(num)) for num in self.numbers)

    def _evenly(self, num: int) -> Blocks:
        return self.own if num == len(self.own) else default_blocks(self.depth, num)


def share_name(stage: int) -> str:
    """The parameter that says, with those of the stages before, where a selector (1, 2, ...) stands."""
    return f"block{stage}_share"


def _named(blocks: Sequence[int]) -> str:
    return "-".join(map(str, blocks))
