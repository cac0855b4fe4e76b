"""Widening a schedule: never slower, never fewer tokens, and right on a staircase whose answer is known."""

import math

from hypothesis import given
from hypothesis import strategies as st

from search.staircase import widen
from spvit.schedule import PruningSchedule, TokenGeometry, TokenPlan

GEOMETRY = TokenGeometry(depth=6, num_patches=49)
BLOCKS = (1, 2, 4)


def plan(schedule: PruningSchedule) -> TokenPlan:
    return schedule.plan(GEOMETRY)


def tiles(plan: TokenPlan, tile: int = 16) -> float:
    """A device whose blocks cost by started tiles of tokens."""
    return float(sum(math.ceil(tokens / tile) for tokens in plan.block_tokens))


def tails(plan: TokenPlan) -> float:
    """A device that is slow with what does not fill a tile, so that more tokens can be faster."""
    return float(sum(tokens + 10 * (tokens % 16 != 0) for tokens in plan.block_tokens))


def schedule(*counts: int) -> PruningSchedule:
    return PruningSchedule.from_keep_rates([count / 49 for count in counts], BLOCKS)


def counts(schedule: PruningSchedule) -> list[int]:
    return [stage.num_kept(49) for stage in schedule.stages]


def test_fills_the_tiles() -> None:
    wide = widen(schedule(20, 18, 5), num_patches=49, plan=plan, cost=tiles)
    assert plan(wide).block_tokens == (50, 32, 32, 32, 16, 16)
    assert tiles(plan(wide)) == tiles(plan(schedule(20, 18, 5)))


def test_takes_more_tokens_where_they_are_faster() -> None:
    before = schedule(29, 28, 11)
    wide = widen(before, num_patches=49, plan=plan, cost=tails)
    assert sum(plan(wide).block_tokens) > sum(plan(before).block_tokens)
    assert tails(plan(wide)) < tails(plan(before))


@given(
    st.lists(st.integers(1, 48), min_size=3, max_size=3).map(lambda kept: sorted(kept, reverse=True)),
    st.sampled_from([tiles, tails, lambda plan: float(sum(plan.block_tokens))]),
)
def test_never_slower_never_fewer_tokens(kept: list[int], cost) -> None:
    before = schedule(*kept)
    after = widen(before, num_patches=49, plan=plan, cost=cost)
    assert cost(plan(after)) <= cost(plan(before))
    assert all(a >= b for a, b in zip(counts(after), kept, strict=True))
    assert widen(after, num_patches=49, plan=plan, cost=cost) == after


def test_a_strictly_rising_cost_leaves_a_schedule_alone() -> None:
    before = schedule(30, 20, 10)
    assert plan(widen(before, num_patches=49, plan=plan, cost=lambda p: float(sum(p.block_tokens)))) == plan(before)
