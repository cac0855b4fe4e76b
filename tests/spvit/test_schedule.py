import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvit.schedule import Level, PackageMode, PruningSchedule, Stage, TokenGeometry, default_blocks

DEIT = TokenGeometry(depth=12, num_patches=196)
RATES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4).map(lambda rates: sorted(rates, reverse=True))


def test_deit_at_base_rate_0_7() -> None:
    plan = PruningSchedule.from_base_rate(0.7, (3, 6, 9)).plan(DEIT)
    assert [selection.num_kept for selection in plan.selections] == [137, 96, 67]
    assert plan.block_tokens == (197,) * 3 + (139,) * 3 + (99,) * 3 + (71,) * 3


@pytest.mark.parametrize(("mode", "last"), [("per_selector", 71), ("single", 69), ("none", 68)])
def test_packages_count(mode: str, last: int) -> None:
    assert PruningSchedule.from_base_rate(0.7, (3, 6, 9)).plan(DEIT, PackageMode(mode)).block_tokens[-1] == last


@given(rates=RATES, mode=st.sampled_from(PackageMode))
def test_every_plan_is_consistent(rates: list[float], mode: PackageMode) -> None:
    blocks = tuple(range(1, 1 + 2 * len(rates), 2))
    plan = PruningSchedule.from_keep_rates(rates, blocks).plan(DEIT, mode)
    assert len(plan.block_tokens) == DEIT.depth
    assert plan.block_tokens[0] == DEIT.num_tokens
    left = DEIT.num_patches
    for selection in plan.selections:
        assert 1 <= selection.num_kept < selection.num_candidates == left
        left = selection.num_kept
        entering = 1 + left + selection.num_packages_after
        assert plan.block_tokens[selection.block] == entering


def test_stages_that_drop_nothing_cost_nothing() -> None:
    idle = PruningSchedule.from_keep_rates([1.0, 0.5, 0.5], (3, 6, 9))
    assert idle.plan(DEIT) == PruningSchedule.from_keep_rates([0.5], (6,)).plan(DEIT)


@pytest.mark.parametrize(("depth", "blocks"), [(12, (3, 6, 9)), (16, (4, 8, 12)), (4, (1, 2, 3)), (2, (1,)), (1, (0,))])
def test_default_blocks(depth: int, blocks: tuple[int, ...]) -> None:
    assert default_blocks(depth) == blocks


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_bad_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"keep rate must lie in \(0, 1\]"):
        Stage(block=3, keep_rate=rate)


def test_bad_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="must not rise"):
        PruningSchedule.from_keep_rates([0.5, 0.6], (3, 6))
    with pytest.raises(ValueError, match="in the order of their blocks"):
        PruningSchedule.from_keep_rates([0.5, 0.5], (6, 3))
    with pytest.raises(ValueError, match="one keep rate"):
        PruningSchedule.from_keep_rates([0.5], (3, 6))
    with pytest.raises(ValueError, match="has blocks 0 to 11"):
        PruningSchedule.from_keep_rates([0.5], (12,)).plan(DEIT)
    with pytest.raises(ValueError, match="at least one block"):
        TokenGeometry(depth=0, num_patches=4)


PIT = TokenGeometry.of_levels(
    [Level(num_blocks=2, num_patches=729), Level(num_blocks=6, num_patches=196), Level(num_blocks=4, num_patches=49)]
)


def test_each_level_starts_anew() -> None:
    plan = PruningSchedule.from_keep_rates([0.8, 0.7, 0.5, 0.5], (1, 3, 5, 8)).plan(PIT)
    assert plan.block_tokens == (730, 585, 197, 139, 139, 101, 101, 101, 26, 26, 26, 26)
    assert [(s.num_candidates, s.num_packages_before) for s in plan.selections] == [
        (729, 0),
        (196, 0),
        (137, 1),
        (49, 0),
    ]


@given(rates=RATES, mode=st.sampled_from(PackageMode), data=st.data())
def test_a_level_is_a_model_of_its_own(rates: list[float], mode: PackageMode, data: st.DataObject) -> None:
    picks = st.lists(st.integers(0, PIT.depth - 1), min_size=len(rates), max_size=len(rates), unique=True)
    schedule = PruningSchedule.from_keep_rates(rates, sorted(data.draw(picks)))
    alone: list[int] = []
    for start, level in zip(PIT.level_starts, PIT.levels, strict=True):
        inside = [s for s in schedule.stages if start <= s.block < start + level.num_blocks]
        shifted = PruningSchedule.from_keep_rates([s.keep_rate for s in inside], [s.block - start for s in inside])
        geometry = TokenGeometry(depth=level.num_blocks, num_patches=level.num_patches)
        alone += shifted.plan(geometry, mode).block_tokens
    assert schedule.plan(PIT, mode).block_tokens == tuple(alone)


def test_levels_and_blocks() -> None:
    assert PIT.level_starts == (0, 2, 8)
    assert [PIT.level_of(block) for block in range(12)] == [0] * 2 + [1] * 6 + [2] * 4
    assert DEIT.levels == (Level(num_blocks=12, num_patches=196),)


def test_levels_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to the depth"):
        TokenGeometry(depth=3, num_patches=4, levels=(Level(num_blocks=2, num_patches=4),))
    with pytest.raises(ValueError, match="those of its first level"):
        TokenGeometry(depth=2, num_patches=5, levels=(Level(num_blocks=2, num_patches=4),))
    with pytest.raises(ValueError, match="at least one block and one patch"):
        Level(num_blocks=0, num_patches=4)
