"""Schedules that are built selector by selector: lowered at one block, merged into stages at the end. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from spvit.schedule import PruningSchedule, Stage

NUM_DIGITS = 9
"""Rates are put to this many digits, so that ten steps of 0.1 are 1."""


def rate_at(schedule: PruningSchedule, block: int) -> float:
    """The share of all patches that enters a block; 1 in front of the first selector."""
    return min((stage.keep_rate for stage in schedule.stages if stage.block <= block), default=1.0)


def falling_rates(start: float, *, step: float, lowest: float) -> Iterator[float]:
    """Rates below `start`, one step after the other, down to the lowest."""
    rate = round(start - step, NUM_DIGITS)
    while rate >= lowest - 10**-NUM_DIGITS:
        yield rate
        rate = round(rate - step, NUM_DIGITS)


def lowered(schedule: PruningSchedule, block: int, keep_rate: float) -> PruningSchedule:
    """The schedule with a selector before `block` that keeps this share; those behind that keep as much are taken out.

    Raises:
        ValueError: a selector in front of the block keeps less already.
    """
    before = (stage for stage in schedule.stages if stage.block < block)
    behind = (stage for stage in schedule.stages if stage.block > block and stage.keep_rate < keep_rate)
    return PruningSchedule(stages=(*before, Stage(block=block, keep_rate=keep_rate), *behind))


def merge_stages(schedule: PruningSchedule, *, below: float, keep_lowest: bool = False) -> PruningSchedule:
    """Neighbours whose rates differ by less than `below` as one stage, in the place of the first.

    Differences are taken to the first of a stage, so that a long slow fall does not become one stage.

    Args:
        schedule: selectors of any number.
        below: difference of cumulative keep rates, above 0.
        keep_lowest: keep the share of a stage's last selector instead of its first.
    """
    groups: list[list[Stage]] = []
    for stage in schedule.stages:
        if groups and groups[-1][0].keep_rate - stage.keep_rate < below:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return PruningSchedule.from_keep_rates(
        [group[-1 if keep_lowest else 0].keep_rate for group in groups], [group[0].block for group in groups]
    )
