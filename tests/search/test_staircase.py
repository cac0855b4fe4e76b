"""Widening a schedule: never slower, never fewer tokens, and right on a staircase whose answer is known."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from search.staircase import widen
from spvit.schedule import Level, PruningSchedule, TokenGeometry, TokenPlan

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
    wide = widen(schedule(20, 18, 5), num_patches=(49,) * 3, plan=plan, cost=tiles)
    assert plan(wide).block_tokens == (50, 32, 32, 32, 16, 16)
    assert tiles(plan(wide)) == tiles(plan(schedule(20, 18, 5)))


def test_takes_more_tokens_where_they_are_faster() -> None:
    before = schedule(29, 28, 11)
    wide = widen(before, num_patches=(49,) * 3, plan=plan, cost=tails)
    assert sum(plan(wide).block_tokens) > sum(plan(before).block_tokens)
    assert tails(plan(wide)) < tails(plan(before))


@given(
    st.lists(st.integers(1, 48), min_size=3, max_size=3).map(lambda kept: sorted(kept, reverse=True)),
    st.sampled_from([tiles, tails, lambda plan: float(sum(plan.block_tokens))]),
)
def test_never_slower_never_fewer_tokens(kept: list[int], cost) -> None:
    before = schedule(*kept)
    after = widen(before, num_patches=(49,) * 3, plan=plan, cost=cost)
    assert cost(plan(after)) <= cost(plan(before))
    assert all(a >= b for a, b in zip(counts(after), kept, strict=True))
    assert widen(after, num_patches=(49,) * 3, plan=plan, cost=cost) == after


def test_a_strictly_rising_cost_leaves_a_schedule_alone() -> None:
    before = schedule(30, 20, 10)
    assert plan(widen(before, num_patches=(49,) * 3, plan=plan, cost=lambda p: float(sum(p.block_tokens)))) == plan(
        before
    )


LEVELS = TokenGeometry.of_levels([Level(num_blocks=2, num_patches=n) for n in (49, 16, 4)])
RATES = st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3).map(lambda rates: sorted(rates, reverse=True))


@example(rates=[0.28125, 0.125, 0.125], cost=tiles)
@given(rates=RATES, cost=st.sampled_from([tiles, tails, lambda plan: float(sum(plan.block_tokens))]))
def test_every_stage_counts_the_patches_of_its_level(rates: list[float], cost) -> None:
    """Within levels of 49, 16 and 4 patches too: never slower, and no stage keeps fewer tokens."""

    def level_plan(schedule: PruningSchedule) -> TokenPlan:
        return schedule.plan(LEVELS)

    before = PruningSchedule.from_keep_rates(rates, (0, 3, 5))
    after = widen(before, num_patches=(49, 16, 4), plan=level_plan, cost=cost)
    assert cost(level_plan(after)) <= cost(level_plan(before))
    for num, old, new in zip((49, 16, 4), before.stages, after.stages, strict=True):
        assert new.num_kept(num) >= old.num_kept(num)
    assert level_plan(widen(after, num_patches=(49, 16, 4), plan=level_plan, cost=cost)) == level_plan(after)


def test_what_costs_nothing_in_a_later_level_is_kept() -> None:
    before = PruningSchedule.from_keep_rates([0.9, 0.5], (0, 3))
    after = widen(before, num_patches=(49, 16), plan=lambda s: s.plan(LEVELS), cost=tiles)
    kept = [stage.num_kept(num) for stage, num in zip(after.stages, (49, 16), strict=True)]
    assert kept[1] == 14  # with the class token and the package one tile of 16
