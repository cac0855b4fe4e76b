"""Before which blocks the schedules of a search may have selectors. Pure."""

from __future__ import annotations

from search.space import SearchSpace
from search.space_config import BlockChoice, BlockRange
from search.structure import Structure
from spvit.schedule import PruningSchedule, TokenGeometry
from trainers.config import TrialConfig
from trainers.schedule_sampler import sets_of_blocks


def everywhere_trial(space: SearchSpace) -> TrialConfig | None:
    """The trial that the file describes, with a selector before every block that may have one; None without any."""
    rates = space.stage_rates or space.base_rates
    if rates is None:
        return None
    schedule = everywhere(all_blocks(space.structure), rates.low, space.geometry)
    return space.default.model_copy(update={"pruning": space.default.pruning.model_copy(update={"schedule": schedule})})


def everywhere(blocks: tuple[int, ...], lowest: float, geometry: TokenGeometry) -> PruningSchedule:
    """A selector before each block, evenly down to the lowest rate, or lower where not every one would drop a token."""
    least_step = 1.5 / geometry.num_patches
    step = max((1.0 - lowest) / len(blocks), min(least_step, 1.0 / (len(blocks) + 1)))
    return PruningSchedule.from_keep_rates([1.0 - step * number for number in range(1, len(blocks) + 1)], blocks)


def all_blocks(structure: Structure) -> tuple[int, ...]:
    """Every block that a selector may stand before."""
    match structure.positions:
        case BlockChoice(choices=choices):
            return tuple(sorted({block for blocks in choices for block in blocks}))
        case BlockRange(low=low, high=int(high)):
            return tuple(range(low, high + 1))
        case _:
            return tuple(sorted({block for number in structure.numbers for block in structure.usual(number)}))


def block_sets(structure: Structure) -> tuple[tuple[int, ...], ...]:
    """The sets of blocks that are explored, where these are not all of some sizes."""
    match structure.positions:
        case BlockChoice(choices=choices):
            sets = tuple(dict.fromkeys(choices))
        case BlockRange(low=low, high=int(high)):
            sizes = structure.numbers
            is_any_size = sizes == tuple(range(sizes[0], sizes[-1] + 1))
            sets = () if is_any_size else sets_of_blocks(range(low, high + 1), sizes)
        case _:
            sets = tuple(structure.usual(number) for number in structure.numbers)
    return sets if len(sets) > 1 else ()
