"""Arrays of plans hold what `PruningSchedule.plan` says of each schedule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvit.plan_arrays import PlanArrays
from spvit.schedule import Level, PackageMode, PruningSchedule, TokenGeometry

GEOMETRIES = [
    TokenGeometry(depth=6, num_patches=49),
    TokenGeometry(depth=4, num_patches=5, num_prefix_tokens=0),
    TokenGeometry.of_levels([Level(num_blocks=b, num_patches=p) for b, p in ((2, 60), (3, 16), (1, 1))], 2),
]
modes = st.sampled_from(PackageMode)


@st.composite
def cases(draw: st.DrawFn) -> tuple[TokenGeometry, list[PruningSchedule]]:
    geometry = draw(st.sampled_from(GEOMETRIES))
    schedules = []
    for _ in range(draw(st.integers(0, 4))):
        blocks = sorted(draw(st.sets(st.integers(0, geometry.depth - 1), max_size=4)))
        rates = draw(st.lists(st.floats(0.001, 1.0), min_size=len(blocks), max_size=len(blocks)))
        schedules.append(PruningSchedule.from_keep_rates(sorted(rates, reverse=True), blocks))
    return geometry, schedules


def check_rows(plans: PlanArrays, many: list[PruningSchedule], geometry: TokenGeometry, mode: PackageMode) -> None:
    assert len(plans) == len(many)
    for number, schedule in enumerate(many):
        plan = schedule.plan(geometry, mode)
        assert tuple(plans.block_tokens[number]) == plan.block_tokens
        reached = plans.selection_tokens[number]
        assert list(plans.selection_blocks[number][reached > 0]) == [s.block for s in plan.selections]
        assert list(reached[reached > 0]) == [
            geometry.num_prefix_tokens + s.num_candidates + s.num_packages_before for s in plan.selections
        ]
        assert plans.is_pruned[number] == bool(plan.selections)


@given(case=cases(), mode=modes)
def test_rows_are_the_plans_of_their_schedules(
    case: tuple[TokenGeometry, list[PruningSchedule]], mode: PackageMode
) -> None:
    geometry, many = case
    check_rows(PlanArrays.from_schedules(many, geometry, mode), many, geometry, mode)


@given(
    rates=st.lists(st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3), min_size=1, max_size=5),
    blocks=st.sets(st.integers(0, 5), min_size=3, max_size=3).map(sorted),
    geometry=st.sampled_from([GEOMETRIES[0], GEOMETRIES[2]]),
    mode=modes,
)
def test_rates_are_read_row_by_row(
    rates: list[list[float]], blocks: list[int], geometry: TokenGeometry, mode: PackageMode
) -> None:
    falling = [sorted(row, reverse=True) for row in rates]
    many = [PruningSchedule.from_keep_rates(row, blocks) for row in falling]
    check_rows(PlanArrays.from_keep_rates(falling, blocks, geometry, mode), many, geometry, mode)
    every_block = np.tile(blocks, (len(falling), 1))
    check_rows(PlanArrays.from_keep_rates(falling, every_block, geometry, mode), many, geometry, mode)


@pytest.mark.parametrize(
    ("rates", "blocks", "requirement"),
    [
        ([[0.9, 0.5], [0.5, 0.9]], [1, 2], "Schedule 1: keep rates must not rise"),
        ([[0.9, 0.0]], [1, 2], r"Schedule 0: keep rates must lie in \(0, 1\]"),
        ([[0.9, float("nan")]], [1, 2], "Schedule 0: keep rates must lie in"),
        ([[0.9, 0.5]], [2, 2], "Schedule 0: stages must be in the order of their blocks"),
        ([[0.9, 0.5]], [2, 6], r"the model has blocks 0 to 5, but got keep rates \[0.9, 0.5\] before blocks \[2, 6\]"),
        ([0.9, 0.5], [1, 2], r"shape \(schedules, stages\)"),
    ],
)
def test_rows_that_are_no_schedules_are_refused(rates: list, blocks: list[int], requirement: str) -> None:
    with pytest.raises(ValueError, match=requirement):
        PlanArrays.from_keep_rates(rates, blocks, GEOMETRIES[0])


def test_a_stage_behind_the_last_block_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has blocks 0 to 5"):
        PlanArrays.from_schedules([PruningSchedule(), PruningSchedule.from_keep_rates([0.5], [6])], GEOMETRIES[0])


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="of one length"):
        PlanArrays(
            block_tokens=np.ones((2, 6), int),
            selection_blocks=np.ones((1, 3), int),
            selection_tokens=np.ones((1, 3), int),
        )


def test_arrays_without_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        PlanArrays(
            block_tokens=np.ones((2, 6), int), selection_blocks=np.ones(2, int), selection_tokens=np.ones(2, int)
        )
