"""Many schedules at once are priced like each of them by itself."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables.estimate import LatencyEstimates
from latency_tables.predict import predict, predict_arrays, predict_many
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.plan_arrays import PlanArrays
from spvit.schedule import Level, PackageMode, PruningSchedule, TokenGeometry

PLAIN = TokenGeometry(depth=6, num_patches=49)
LEVELED = TokenGeometry.of_levels([Level(num_blocks=6, num_patches=49), Level(num_blocks=2, num_patches=12)])
ANY_TABLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def schedules(draw: st.DrawFn, depth: int) -> PruningSchedule:
    blocks = sorted(draw(st.sets(st.integers(0, depth - 1), max_size=4)))
    rates = draw(st.lists(st.floats(0.01, 1.0), min_size=len(blocks), max_size=len(blocks)))
    return PruningSchedule.from_keep_rates(sorted(rates, reverse=True), blocks)


modes, kinds = st.sampled_from(PackageMode), st.sampled_from([None, SelectorKind.MULTI_HEAD, SelectorKind.LIGHT])


def check_equal(table: LatencyTable, many: list[PruningSchedule], mode: PackageMode, kind: SelectorKind | None) -> None:
    plans = PlanArrays.from_schedules(many, table.geometry, mode, kind)
    together = predict_arrays(table, plans)
    each = predict_many(table, [schedule.plan(table.geometry, mode, kind) for schedule in many])
    for name in ("mean_ms", "low_ms", "high_ms"):
        assert getattr(together, name) == pytest.approx([getattr(estimate, name) for estimate in each], rel=1e-12)


@given(many=st.lists(schedules(PLAIN.depth), max_size=5), mode=modes, kind=kinds)
@ANY_TABLE
def test_arrays_are_priced_like_each_plan(
    table: LatencyTable, many: list[PruningSchedule], mode: PackageMode, kind: SelectorKind | None
) -> None:
    check_equal(table, many, mode, kind)


@given(many=st.lists(schedules(LEVELED.depth), max_size=5), mode=modes, kind=kinds)
@ANY_TABLE
def test_arrays_of_a_model_with_levels_are_priced_like_each_plan(
    leveled: LatencyTable, many: list[PruningSchedule], mode: PackageMode, kind: SelectorKind | None
) -> None:
    check_equal(leveled, many, mode, kind)


def test_a_batch_of_more_than_one_chunk_keeps_its_order(table: LatencyTable) -> None:
    rates = np.linspace(0.02, 1.0, 10_000)[:, np.newaxis]
    together = predict_arrays(table, PlanArrays.from_keep_rates(rates, [2], PLAIN))
    assert len(together) == 10_000
    for number in (0, 5000, 9999):
        plan = PruningSchedule.from_keep_rates(rates[number].tolist(), [2]).plan(PLAIN)
        assert together[number].mean_ms == pytest.approx(predict(table, plan).mean_ms, rel=1e-12)


def test_a_count_outside_the_table_is_refused(table: LatencyTable) -> None:
    plans = PlanArrays.from_keep_rates([[0.9], [0.5]], [2], TokenGeometry(depth=6, num_patches=60))
    with pytest.raises(LatencyTableError, match=r"block at 61 tokens is unknown.*from 2 to 50 tokens"):
        predict_arrays(table, plans)


def test_another_depth_is_refused(table: LatencyTable) -> None:
    plans = PlanArrays.from_keep_rates([[0.9]], [2], TokenGeometry(depth=12, num_patches=49))
    with pytest.raises(LatencyTableError, match=r"6 blocks \(vit_test\), but the plan has 12"):
        predict_arrays(table, plans)


def test_a_selector_that_was_not_measured_has_no_price(table: LatencyTable) -> None:
    plans = PlanArrays.from_keep_rates([[0.5]], [2], PLAIN, selector=SelectorKind.CLASS_ATTENTION)
    with pytest.raises(LatencyTableError, match="not class_attention"):
        predict_arrays(table, plans)


def test_bounds_that_are_no_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= low_ms <= mean_ms <= high_ms"):
        LatencyEstimates(mean_ms=np.array([1.0, 2.0]), low_ms=np.array([0.5, 2.5]), high_ms=np.array([1.5, 3.0]))
