import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.progressive_stages import falling_rates, lowered, merge_stages, rate_at
from spvit.schedule import PruningSchedule

schedules = st.lists(st.integers(1, 10), min_size=1, max_size=8).map(
    lambda tenths: PruningSchedule.from_keep_rates(sorted((t / 10 for t in tenths), reverse=True), range(len(tenths)))
)


def schedule(**rates):
    return PruningSchedule.from_keep_rates(list(rates.values()), [int(name[1:]) for name in rates])


def test_rates_fall_by_equal_steps_to_the_lowest_and_no_further():
    assert list(falling_rates(1.0, step=0.1, lowest=0.5)) == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert list(falling_rates(1.0, step=0.4, lowest=0.3)) == [0.6]
    assert list(falling_rates(0.5, step=0.1, lowest=0.5)) == []


def test_a_lowered_selector_takes_out_those_behind_it_that_keep_as_much():
    assert lowered(schedule(b3=0.8, b5=0.6), 4, 0.7) == schedule(b3=0.8, b4=0.7, b5=0.6)
    assert lowered(schedule(b3=0.8, b5=0.6), 3, 0.6) == schedule(b3=0.6)
    assert lowered(schedule(b3=0.8, b5=0.6), 3, 0.5) == schedule(b3=0.5)
    assert lowered(PruningSchedule(), 2, 0.9) == schedule(b2=0.9)


def test_a_selector_cannot_keep_what_one_in_front_dropped():
    with pytest.raises(ValueError, match="must not rise"):
        lowered(schedule(b3=0.5), 4, 0.7)


def test_similar_neighbours_become_one_stage_at_the_first_ones_block():
    slow = schedule(b3=0.9, b4=0.85, b5=0.8, b8=0.5)
    assert merge_stages(slow, below=0.085) == schedule(b3=0.9, b5=0.8, b8=0.5)
    assert merge_stages(slow, below=0.085, keep_lowest=True) == schedule(b3=0.85, b5=0.8, b8=0.5)
    assert merge_stages(slow, below=0.5) == schedule(b3=0.9)


@given(schedules, st.floats(0.01, 0.99), st.booleans())
def test_what_was_merged_differs_enough_or_is_not_changed(start, below, keep_lowest):
    merged = merge_stages(start, below=below, keep_lowest=keep_lowest)
    assert set(merged.blocks) <= set(start.blocks)
    assert merged.blocks[0] == start.blocks[0]
    assert all(abs(rate_at(merged, block) - rate_at(start, block)) < below for block in start.blocks)
    if not keep_lowest:
        pairs = zip(merged.keep_rates, merged.keep_rates[1:], strict=False)
        assert all(before - after >= below for before, after in pairs)
