"""Adaptive latency: what each image or batch costs by itself, not what the mean count would."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables.adaptive import predict_adaptive
from latency_tables.predict import predict
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.form_plans import image_plan
from spvit.options import SelectorKind, Serving
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry, TokenPlan

GEOMETRY = TokenGeometry(depth=6, num_patches=49)
PLAN = PruningSchedule.from_keep_rates([0.7, 0.5, 0.3], [1, 2, 4]).plan(GEOMETRY, selector=SelectorKind.LIGHT)
images = st.lists(st.integers(1, 49), min_size=3, max_size=3).map(lambda kept: sorted(kept, reverse=True))
counts = st.lists(images, min_size=4, max_size=12)


def at_batch(table: LatencyTable, size: int, factor: float = 1.0, package: PackageMode | None = None) -> LatencyTable:
    """The same model at another batch size, with all its times `factor` times as long; selectors from 2 tokens on."""

    def scaled(row):
        return replace(row, median_ms=row.median_ms * factor, low_ms=row.low_ms * factor, high_ms=row.high_ms * factor)

    def curve(rows):
        return {2 if count == 3 else count: scaled(row) for count, row in rows.items()}

    return replace(
        table,
        key=replace(table.key, batch_size=size),
        selector=replace(table.selector, package=package or table.selector.package),
        stem=scaled(table.stem),
        head=scaled(table.head),
        blocks=curve(table.blocks),
        last_blocks=curve(table.last_blocks),
        selections=curve(table.selections),
        other_selections={kind: curve(rows) for kind, rows in table.other_selections.items()},
    )


def of_image(kept: list[int], mode: PackageMode) -> TokenPlan:
    return replace(image_plan(PLAN, kept, geometry=GEOMETRY, package=mode), selector=SelectorKind.LIGHT)


@given(num_kept=counts, mode=st.sampled_from(PackageMode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_images_one_by_one_cost_what_each_costs(
    table: LatencyTable, num_kept: list[list[int]], mode: PackageMode
) -> None:
    single = at_batch(table, 1, package=mode)
    each = [predict(single, of_image(kept, mode)) for kept in num_kept]
    means = [estimate.mean_ms for estimate in each]
    for serving in Serving:
        adaptive = predict_adaptive(single, PLAN, num_kept, serving=serving)
        assert adaptive.num_batches == len(num_kept)
        assert adaptive.mean.mean_ms == pytest.approx(np.mean(means))
        assert adaptive.mean.high_ms == pytest.approx(np.mean([estimate.high_ms for estimate in each]))
        assert (adaptive.p50_ms, adaptive.p95_ms) == pytest.approx(tuple(np.quantile(means, [0.5, 0.95])))


@given(num_kept=counts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_padded_batch_costs_what_its_longest_image_does(table: LatencyTable, num_kept: list[list[int]]) -> None:
    pairs = at_batch(table, 2, package=PackageMode.NONE)
    batches = [np.max(num_kept[start : start + 2], axis=0) for start in range(0, len(num_kept) - 1, 2)]
    each = [predict(pairs, of_image(longest.tolist(), PackageMode.NONE)).mean_ms for longest in batches]
    adaptive = predict_adaptive(pairs, PLAN, num_kept)
    assert adaptive.num_batches == len(num_kept) // 2
    assert adaptive.mean.mean_ms == pytest.approx(np.mean(each))


@given(num_kept=counts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_buckets_cost_between_images_one_by_one_and_a_padded_batch(
    table: LatencyTable, num_kept: list[list[int]]
) -> None:
    """Where a batch costs as much as its images one by one, grouping them saves padding and nothing else."""
    single = at_batch(table, 1, factor=1 / 4)
    whole = at_batch(table, 4)
    one_by_one = predict_adaptive(single, PLAN, num_kept[:4]).mean.mean_ms - single.stem.median_ms * 1.02
    in_buckets = predict_adaptive(
        whole, PLAN, num_kept[:4], serving=Serving.BUCKETED, bucket=1, other_batches=[single]
    ).mean.mean_ms
    num_shared = (whole.stem.median_ms + whole.head.median_ms) * 1.02
    assert in_buckets - num_shared >= 4 * (one_by_one - single.head.median_ms * 1.02) * (1 - 1e-9)
    padded = predict_adaptive(whole, PLAN, num_kept[:4]).mean.mean_ms
    assert in_buckets <= padded * (1 + 1e-9)


def test_equal_images_in_buckets_cost_their_share_of_a_batch(table: LatencyTable) -> None:
    """Three images of four, by tables of two and of four: halfway between them."""
    two, four = at_batch(table, 2), at_batch(table, 4)
    three = [[20, 10, 5]] * 3 + [[49, 49, 49]]
    priced = predict_adaptive(four, PLAN, three, serving=Serving.BUCKETED, other_batches=[at_batch(table, 1), two])
    plans = [of_image(kept, PackageMode.PER_SELECTOR) for kept in ([20, 10, 5], [49, 49, 49])]
    # All tables tell the same times, so that the two groups cost what two batches do, but for what they do together.
    together = (four.stem.median_ms + four.head.median_ms + four.blocks[50].median_ms) * 1.02
    together += four.other_selections[SelectorKind.LIGHT][50].median_ms * 1.02
    each = sum(predict(four, plan).mean_ms for plan in plans)
    assert priced.mean.mean_ms == pytest.approx(each - together)


def test_a_batch_that_packages_make_longer_than_the_dense_model_is_told_of(table: LatencyTable) -> None:
    pairs = at_batch(table, 2)
    adaptive = predict_adaptive(pairs, PLAN, [[49, 20, 5], [20, 20, 5], [40, 20, 5], [20, 20, 5]])
    assert (adaptive.num_batches, adaptive.num_beyond) == (2, 1)
    within = predict_adaptive(pairs, PLAN, [[48, 20, 5], [20, 20, 5], [40, 20, 5], [20, 20, 5]])
    at_51_tokens = 1.02 * (pairs.blocks[50].median_ms + pairs.other_selections[SelectorKind.LIGHT][50].median_ms) / 50
    assert within.num_beyond == 0
    assert adaptive.mean.mean_ms - within.mean.mean_ms == pytest.approx(at_51_tokens / 2)


def test_a_selector_with_a_single_patch_is_priced_like_one_with_two(table: LatencyTable) -> None:
    adaptive = predict_adaptive(replace(table, key=replace(table.key, batch_size=1)), PLAN, [[49, 49, 1]])
    assert adaptive.mean.mean_ms > 0.0
    alone = at_batch(table, 1, package=PackageMode.NONE)
    real = replace(table, key=alone.key, selector=alone.selector)
    two, one = ([[2, 2, 1]], [[1, 1, 1]])
    selectors = [predict_adaptive(real, PLAN, kept).mean.mean_ms for kept in (two, one)]
    blocks = 3 * (interpolated(table, 3) - interpolated(table, 2)) * 1.02
    assert selectors[0] - selectors[1] == pytest.approx(blocks)


def interpolated(table: LatencyTable, count: int) -> float:
    curve = {number: row.median_ms for number, row in table.blocks.items()}
    return float(np.interp(count, list(curve), list(curve.values())))


def test_on_a_staircase_the_mean_count_looks_too_fast(
    make_table: Callable[..., LatencyTable], make_row: Callable[[float], object]
) -> None:
    """Half of the images are one token behind a step that the mean count does not reach."""
    steps = {count: make_row(1.0 if count <= 32 else 3.0) for count in range(2, 51)}
    stairs = at_batch(make_table(blocks=steps, last_blocks={}), 1)
    plan = PruningSchedule.from_keep_rates([0.5], [1]).plan(GEOMETRY)
    num_kept = np.array([[20], [40]] * 5)
    at_the_mean = predict_adaptive(stairs, plan, [[30]]).mean.mean_ms
    adaptive = predict_adaptive(stairs, plan, num_kept)
    assert adaptive.mean.mean_ms - at_the_mean == pytest.approx(1.02 * 5 * 1.0, rel=0.01)
    assert adaptive.p95_ms - adaptive.p50_ms == pytest.approx(1.02 * 5 * 1.0, rel=0.01)


def test_buckets_need_tables_of_small_batches(table: LatencyTable) -> None:
    with pytest.raises(LatencyTableError, match=r"What 1 images of a batch cost is unknown.*for batches of 8.*profile"):
        predict_adaptive(table, PLAN, [[49, 49, 49]] * 7 + [[1, 1, 1]], serving=Serving.BUCKETED)


def test_tables_of_other_models_are_refused(table: LatencyTable) -> None:
    other = replace(table, key=replace(table.key, batch_size=1, backbone="vit_other"))
    with pytest.raises(LatencyTableError, match="alike in all else"):
        predict_adaptive(table, PLAN, [[49, 49, 49]] * 8, serving=Serving.BUCKETED, other_batches=[other])


@pytest.mark.parametrize(
    ("num_kept", "complaint"),
    [
        ([[10, 5]], r"shape \(images, 3 selections\), but have \(1, 2\)"),
        ([[50, 5, 4]], "at most its 49 patches"),
        ([[10, 5, 0]], "at least 1"),
        ([[5, 10, 4]], "never more at a later selector"),
        ([[9.5, 5.0, 4.0]], "must be integers"),
        ([[10, 5, 4]] * 7, "A batch of 8 images needs as many counts, but has 7"),
    ],
)
def test_counts_that_cannot_be_are_refused(table: LatencyTable, num_kept: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        predict_adaptive(table, PLAN, num_kept)


def test_a_backbone_that_pools_has_no_adaptive_form(leveled: LatencyTable) -> None:
    plan = PruningSchedule.from_keep_rates([0.5], [1]).plan(leveled.geometry)
    with pytest.raises(ValueError, match="one level"):
        predict_adaptive(leveled, plan, [[10]] * 8)


def test_images_beyond_whole_batches_are_left_out(table: LatencyTable) -> None:
    num_kept = [[20, 10, 5]] * 8
    assert predict_adaptive(table, PLAN, [*num_kept, [49, 49, 49]]) == predict_adaptive(table, PLAN, num_kept)
