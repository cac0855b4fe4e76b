import math
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables.counts import edge_counts, first_counts, gpu_counts, next_counts, selection_counts
from latency_tables.key import BackboneShape
from latency_tables.ratio import RatioEstimate


def shape(num_patches: int, num_prefix_tokens: int = 1) -> BackboneShape:
    return BackboneShape(
        depth=12,
        num_patches=num_patches,
        num_prefix_tokens=num_prefix_tokens,
        embed_dim=192,
        num_heads=3,
        mlp_ratio=4.0,
        num_patch_inputs=768,
        num_classes=1000,
    )


def measure_all(true: Callable[[int], float], num_patches: int, *, half_width: float, seed: int) -> dict[int, float]:
    """Measures what is asked for until nothing is: medians with intervals of 90 %, of a normal error."""
    random, measured = np.random.default_rng(seed), {}
    wanted = first_counts(shape(num_patches))
    while wanted:
        for count in wanted:
            median = true(count) * (1.0 + half_width / 1.645 * random.normal())
            low, high = median * (1.0 - half_width), median * (1.0 + half_width)
            measured[count] = RatioEstimate(median=median, low=low, high=high, num_samples=16)
        wanted = next_counts(measured)
    return {count: estimate.median for count, estimate in sorted(measured.items())}


def test_both_ends_a_middle_and_both_sides_of_two_edges_come_first() -> None:
    assert first_counts(shape(49)) == (2, 16, 17, 24, 31, 32, 50)
    assert first_counts(shape(196)) == (2, 64, 65, 104, 127, 128, 197)


def test_edges_and_middles_of_tiles_are_what_a_staircase_needs() -> None:
    assert edge_counts(2, 50) == (2, 8, 15, 16, 17, 24, 31, 32, 33, 40, 47, 48, 49, 50)
    assert selection_counts(shape(49)) == (3, 19, 34, 50)


@given(num_patches=st.integers(2, 5000), num_prefix_tokens=st.integers(1, 5))
def test_counts_rise_from_the_smallest_plan_to_the_dense_model(num_patches: int, num_prefix_tokens: int) -> None:
    sizes = shape(num_patches, num_prefix_tokens)
    smallest, largest = sizes.smallest_num_tokens, sizes.geometry.num_tokens
    for counts, least in (
        (first_counts(sizes), smallest),
        (edge_counts(smallest, largest), smallest),
        (gpu_counts(sizes), smallest),
        (selection_counts(sizes), sizes.smallest_selection),
    ):
        assert list(counts) == sorted(set(counts))
        assert counts[0] <= least
        assert counts[-1] == largest
        assert 2 <= len(counts) <= 98


@given(
    num_patches=st.integers(40, 319),
    fixed=st.floats(0.0, 2.0),
    shift=st.sampled_from([0, 15]),
    half_width=st.floats(0.001, 0.005),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_every_step_of_a_staircase_is_found(
    num_patches: int, fixed: float, shift: int, half_width: float, seed: int
) -> None:
    """Kernels that pad (a step behind each multiple of 16) and those that leave a slow rest (one before it)."""

    def true(count: int) -> float:
        return fixed + 1.0 + (count + shift) // 16

    measured = measure_all(true, num_patches, half_width=half_width, seed=seed)
    for count in range(2, num_patches + 1):
        if true(count + 1) > true(count):
            assert {count, count + 1} <= measured.keys()


@given(slow=st.floats(0.2, 0.6), seed=st.integers(0, 99))
@settings(deadline=None)
def test_slow_rests_of_tiles_are_found(slow: float, seed: int) -> None:
    """What the demo's block does: 47 tokens take longer than 48."""
    measured = measure_all(lambda n: 1.0 + n / 16 + slow * (n % 16 > 0), 49, half_width=0.005, seed=seed)
    assert {15, 16, 17, 31, 32, 33, 47, 48, 49} <= measured.keys()


@given(
    num_patches=st.integers(49, 1000),
    fixed=st.floats(0.02, 0.5),
    half_width=st.floats(0.002, 0.02),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_a_straight_line_is_left_at_about_seven_counts(
    num_patches: int, fixed: float, half_width: float, seed: int
) -> None:
    measured = measure_all(lambda n: fixed + n / num_patches, num_patches, half_width=half_width, seed=seed)
    assert len(measured) <= 12


@given(bend=st.floats(0.0, 0.5), seed=st.integers(0, 999))
@settings(deadline=None)
def test_a_bent_curve_is_told_within_two_percent_of_the_dense_block(bend: float, seed: int) -> None:
    def true(count: int) -> float:
        share = count / 197
        return 0.05 + (1.0 - bend) * share + bend * share * share

    measured = measure_all(true, 196, half_width=0.005, seed=seed)
    every = np.arange(2, 198)
    told = np.interp(every, list(measured), list(measured.values()))
    assert np.abs(told - [true(int(n)) for n in every]).max() < 0.02
    assert len(measured) <= 16


def test_nothing_is_added_to_what_cannot_be_refined() -> None:
    exact = {
        count: RatioEstimate(median=math.sqrt(count), low=math.sqrt(count), high=math.sqrt(count), num_samples=9)
        for count in (1, 2)
    }
    assert next_counts(exact) == ()


def test_gpus_are_measured_at_multiples_of_8_and_one_more() -> None:
    assert gpu_counts(shape(24)) == (2, 8, 9, 16, 17, 24, 25)
    assert gpu_counts(shape(576)) == (2, *range(8, 577, 8), 577)
