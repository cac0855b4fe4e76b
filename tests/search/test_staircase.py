"""Widening and snapping: never slower, never fewer tokens, and right on a staircase whose answer is known."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from latency_tables.measurement import Measurement
from latency_tables.stairs import Plateau, plateaus
from search.staircase import Staircase, widen
from spvit.schedule import Level, PackageMode, PruningSchedule, TokenGeometry, TokenPlan

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


def tiled(largest: int, tile: int) -> tuple[Plateau, ...]:
    """Blocks that cost by started tiles, measured within half a percent of noise."""
    times = {count: math.ceil(count / tile) * (1.0 + 0.004 * (count % 3 - 1)) for count in range(1, largest + 1)}
    rows = {
        count: Measurement(median_ms=ms, low_ms=0.99 * ms, high_ms=1.01 * ms, num_samples=24)
        for count, ms in times.items()
    }
    return plateaus(rows)


PLAIN = Staircase(geometry=GEOMETRY, levels=(tiled(50, 16),))
LEVELED = Staircase(geometry=LEVELS, levels=(tiled(50, 16), tiled(17, 4), tiled(5, 2)))
modes = st.sampled_from(PackageMode)


def test_a_measured_staircase_is_climbed_to_its_edges_where_exact_costs_stop_at_its_noise() -> None:
    times = {plateau.last: plateau for plateau in PLAIN.levels[0]}
    assert sorted(times) == [16, 32, 48, 50]
    snapped = PLAIN.snapped(schedule(20, 18, 5), plan)
    assert plan(snapped).block_tokens == (50, 32, 32, 32, 16, 16)


def test_a_stage_at_the_edge_of_what_comes_before_loses_its_selector() -> None:
    snapped = PLAIN.snapped(schedule(48, 47, 14), plan)
    assert [selection.block for selection in plan(snapped).selections] == [4]


@given(st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3).map(lambda rates: sorted(rates, reverse=True)), modes)
def test_snapped_blocks_never_cost_more_and_keep_no_fewer(rates: list[float], mode: PackageMode) -> None:
    def plan_in(schedule: PruningSchedule) -> TokenPlan:
        return schedule.plan(GEOMETRY, mode)

    before = PruningSchedule.from_keep_rates(rates, BLOCKS)
    after = PLAIN.snapped(before, plan_in)
    pairs = zip(plan_in(before).block_tokens, plan_in(after).block_tokens, strict=True)
    assert all(math.ceil(now / 16) <= math.ceil(then / 16) for then, now in pairs)
    assert all(now >= then for then, now in zip(counts(before), counts(after), strict=True))
    assert len(plan_in(after).selections) <= len(plan_in(before).selections)
    assert PLAIN.snapped(after, plan_in) == after


@given(RATES, modes)
def test_every_level_is_snapped_to_its_own_staircase(rates: list[float], mode: PackageMode) -> None:
    def plan_in(schedule: PruningSchedule) -> TokenPlan:
        return schedule.plan(LEVELS, mode)

    before = PruningSchedule.from_keep_rates(rates, (0, 3, 5))
    after = LEVELED.snapped(before, plan_in)
    for block, (then, now) in enumerate(zip(plan_in(before).block_tokens, plan_in(after).block_tokens, strict=True)):
        tile = (16, 4, 2)[LEVELS.level_of(block)]
        assert math.ceil(now / tile) <= math.ceil(then / tile)
    assert plan_in(LEVELED.snapped(after, plan_in)) == plan_in(after)


def test_networks_with_equal_counts_are_snapped_to_one_network() -> None:
    snapped = {plan(PLAIN.snapped(schedule(kept, 10, 5), plan)) for kept in range(15, 31)}
    assert len(snapped) == 1
