from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables.end_to_end import checked_plans
from latency_tables.interval import covering_error_percent
from latency_tables.predict import predict, predict_dense, predict_many
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.schedule import Level, PackageMode, PruningSchedule, TokenGeometry, TokenPlan

GEOMETRY = TokenGeometry(depth=6, num_patches=49)

rates = st.lists(st.floats(0.02, 1.0), min_size=0, max_size=3).map(lambda keep: sorted(keep, reverse=True))
schedules = rates.map(lambda keep: PruningSchedule.from_keep_rates(keep, [1, 2, 4][: len(keep)]))
kinds = st.sampled_from([None, SelectorKind.MULTI_HEAD, SelectorKind.LIGHT])
plans = st.builds(
    lambda schedule, mode, kind: schedule.plan(GEOMETRY, mode, kind), schedules, st.sampled_from(PackageMode), kinds
)


def naive_interpolation(curve: dict[int, float], count: int) -> float:
    below = max(n for n in curve if n <= count)
    above = min(n for n in curve if n >= count)
    if below == above:
        return curve[below]
    return curve[below] + (curve[above] - curve[below]) * (count - below) / (above - below)


def naive_mean_ms(table: LatencyTable, plan: TokenPlan) -> float:
    if not plan.selections:
        return table.dense.median_ms
    blocks = {n: row.median_ms for n, row in table.blocks.items()}
    is_light = plan.selector is SelectorKind.LIGHT
    curve = table.other_selections[SelectorKind.LIGHT] if is_light else table.selections
    selections = {n: row.median_ms for n, row in curve.items()}
    total = table.stem.median_ms + table.head.median_ms
    total += sum(naive_interpolation(blocks, count) for count in plan.block_tokens[:-1])
    last = {n: row.median_ms for n, row in table.last_blocks.items()}
    total += naive_interpolation(last, plan.block_tokens[-1])
    total += sum(naive_interpolation(selections, 1 + s.num_candidates + s.num_packages_before) for s in plan.selections)
    return total * table.end_to_end.scale


@given(plan=plans)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mean_is_the_naive_sum_of_parts(table: LatencyTable, plan: TokenPlan) -> None:
    assert predict(table, plan).mean_ms == pytest.approx(naive_mean_ms(table, plan), rel=1e-12)


@given(many=st.lists(plans, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_plans_are_priced_like_each(table: LatencyTable, many: list[TokenPlan]) -> None:
    together = predict_many(table, many)
    assert [e.mean_ms for e in together] == pytest.approx([predict(table, plan).mean_ms for plan in many])
    assert [e.high_ms for e in together] == pytest.approx([predict(table, plan).high_ms for plan in many])


def test_the_unpruned_model_is_priced_as_it_was_measured(table: LatencyTable) -> None:
    dense, whole = predict_dense(table), table.dense
    assert (dense.mean_ms, dense.low_ms, dense.high_ms) == (whole.median_ms, whole.low_ms, whole.high_ms)
    kept = PruningSchedule.from_keep_rates([1.0, 1.0], [1, 2])
    assert predict(table, kept.plan(GEOMETRY)) == dense


@given(schedule=rates.filter(lambda keep: len(keep) == 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keeping_fewer_tokens_is_never_slower(table: LatencyTable, schedule: list[float]) -> None:
    fewer = PruningSchedule.from_keep_rates([rate * 0.5 for rate in schedule], [1, 2, 4])
    more = PruningSchedule.from_keep_rates([max(0.04, rate) for rate in schedule], [1, 2, 4])
    if len(fewer.plan(GEOMETRY).selections) == len(more.plan(GEOMETRY).selections):
        slow = predict(table, more.plan(GEOMETRY)).mean_ms
        assert predict(table, fewer.plan(GEOMETRY)).mean_ms <= slow * (1 + 1e-12)


def test_interval_of_certain_rows_is_the_end_to_end_error(
    make_table: Callable[..., LatencyTable], table: LatencyTable
) -> None:
    def certain(curve):
        return {n: replace(row, low_ms=row.median_ms, high_ms=row.median_ms) for n, row in curve.items()}

    ends = certain({0: table.stem, 1: table.head})
    exact = make_table(
        blocks=certain(table.blocks),
        last_blocks=certain(table.last_blocks),
        selections=certain(table.selections),
        stem=ends[0],
        head=ends[1],
        p90_error_percent=5.0,
    )
    estimate = predict(exact, PruningSchedule.from_keep_rates([0.5], [2]).plan(GEOMETRY))
    assert estimate.low_ms == pytest.approx(0.95 * estimate.mean_ms)
    assert estimate.high_ms == pytest.approx(1.05 * estimate.mean_ms)


def test_the_interval_is_the_error_of_checked_models_and_wider_where_rows_are_less_sure(
    make_table: Callable[..., LatencyTable], table: LatencyTable
) -> None:
    """Whatever the rows of the checked models may be off by has shown in their error."""
    covering = covering_error_percent(table.end_to_end) / 100.0
    checked = checked_plans(table.geometry, table.selector.package, table.end_to_end.num_checked)
    for estimate in predict_many(table, list(checked)):
        assert estimate.high_ms == pytest.approx((1.0 + covering) * estimate.mean_ms)
    vague = make_table(selections={n: replace(r, high_ms=15.0 * r.median_ms) for n, r in table.selections.items()})
    more_selectors = PruningSchedule.from_keep_rates([0.9, 0.8, 0.7, 0.6, 0.5], [1, 2, 3, 4, 5]).plan(GEOMETRY)
    estimate = predict(vague, more_selectors)
    assert estimate.high_ms > (1.0 + 1.05 * covering) * estimate.mean_ms
    assert estimate.low_ms == pytest.approx((1.0 - covering) * estimate.mean_ms)


def test_blocks_on_one_row_err_together(make_table: Callable[..., LatencyTable]) -> None:
    table = make_table(p90_error_percent=0.0, scale=1.0)
    unchecked = replace(table.end_to_end, median_error_percent=0.0, max_error_percent=0.0, num_fitted=0, num_checked=0)
    table = replace(table, end_to_end=unchecked)
    estimate = predict(table, PruningSchedule.from_keep_rates([0.5], [5]).plan(GEOMETRY))
    five_blocks = 5 * (table.blocks[50].high_ms - table.blocks[50].median_ms)
    assert estimate.high_ms - estimate.mean_ms == pytest.approx(five_blocks, rel=0.01)


def test_a_count_outside_the_table_is_refused(table: LatencyTable) -> None:
    plan = TokenPlan(block_tokens=(51, 50, 50, 50, 50, 50), selections=())
    with pytest.raises(LatencyTableError, match=r"at 51 tokens is unknown.*from 2 to 50 tokens.*spvit-search profile"):
        predict(table, plan)


def test_a_plan_of_another_depth_is_refused(table: LatencyTable) -> None:
    plan = PruningSchedule().plan(TokenGeometry(depth=12, num_patches=49))
    with pytest.raises(LatencyTableError, match=r"6 blocks \(vit_test\), but the plan has 12"):
        predict(table, plan)


def test_no_plans_cost_nothing(table: LatencyTable) -> None:
    assert predict_many(table, []) == []


def test_a_selector_that_was_not_measured_has_no_price(table: LatencyTable) -> None:
    plan = PruningSchedule.from_keep_rates([0.5], [2]).plan(GEOMETRY, selector=SelectorKind.CLASS_ATTENTION)
    with pytest.raises(LatencyTableError, match=r"multi_head, light selectors cost, but not class_attention.*profile"):
        predict(table, plan)


LEVELS = TokenGeometry.of_levels([Level(num_blocks=6, num_patches=49), Level(num_blocks=2, num_patches=12)])

leveled_plans = st.builds(
    lambda keep, blocks, mode, kind: PruningSchedule.from_keep_rates(keep, blocks[: len(keep)]).plan(
        LEVELS, mode, kind
    ),
    rates,
    st.sampled_from([(1, 4, 6), (5, 6, 7), (0, 2, 7)]),
    st.sampled_from(PackageMode),
    kinds,
)


def naive_leveled_ms(table: LatencyTable, plan: TokenPlan) -> float:
    if not plan.selections:
        return table.dense.median_ms
    """Blocks 6 and 7, and selectors before them, by the rows of the second level."""
    (second,) = table.deeper_levels
    assert table.pooling is not None
    total = table.stem.median_ms + table.head.median_ms + table.pooling.median_ms
    for block, count in enumerate(plan.block_tokens):
        curve = table.blocks if block < 6 else second.blocks
        total += naive_interpolation({n: row.median_ms for n, row in curve.items()}, count)
    for selection in plan.selections:
        rows = (
            (table.selections, table.other_selections)
            if selection.block < 6
            else (second.selections, second.other_selections)
        )
        curve = rows[1][SelectorKind.LIGHT] if plan.selector is SelectorKind.LIGHT else rows[0]
        count = 1 + selection.num_candidates + selection.num_packages_before
        total += naive_interpolation({n: row.median_ms for n, row in curve.items()}, count)
    return total * table.end_to_end.scale


@given(plan=leveled_plans)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_level_is_priced_by_its_own_rows(leveled: LatencyTable, plan: TokenPlan) -> None:
    assert predict(leveled, plan).mean_ms == pytest.approx(naive_leveled_ms(leveled, plan), rel=1e-12)


def test_a_count_of_another_level_is_outside_of_a_levels_range(leveled: LatencyTable) -> None:
    plan = TokenPlan(block_tokens=(50,) * 7 + (14,), selections=())
    with pytest.raises(LatencyTableError, match=r"a block of level 2 at 50 tokens is unknown.*from 2 to 13 tokens"):
        predict(leveled, plan)


def test_a_plan_without_the_second_level_is_refused(leveled: LatencyTable) -> None:
    with pytest.raises(LatencyTableError, match=r"8 blocks \(vit_test\), but the plan has 6"):
        predict(leveled, PruningSchedule().plan(GEOMETRY))
