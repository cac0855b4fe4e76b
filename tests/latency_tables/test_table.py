import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from latency_tables.health import table_warnings
from latency_tables.measurement import Measurement
from latency_tables.ratio import RatioEstimate, repeatable
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind


@pytest.mark.parametrize(
    "times", [(0.0, 0.0, 0.0), (-1.0, 1.0, 2.0), (1.0, float("nan"), 2.0), (1.0, 2.0, float("inf")), (2.0, 1.0, 3.0)]
)
def test_a_measurement_holds_ordered_finite_times(times: tuple[float, float, float]) -> None:
    low, median, high = times
    with pytest.raises(ValueError, match="A measurement needs"):
        Measurement(low_ms=low, median_ms=median, high_ms=high, num_samples=3)


def test_curves_must_reach_the_dense_model(make_table: Callable[..., LatencyTable], table: LatencyTable) -> None:
    short = {n: row for n, row in table.blocks.items() if n < 50}
    with pytest.raises(
        LatencyTableError, match="blocks must reach from num_tokens=2 to num_tokens=50, but covers 2 to 42"
    ):
        make_table(blocks=short)


def test_curves_must_reach_the_smallest_plan(make_table: Callable[..., LatencyTable], table: LatencyTable) -> None:
    short = {n: row for n, row in table.selections.items() if n > 3}
    with pytest.raises(LatencyTableError, match=r"selections must reach from num_tokens=3 .*covers 18 to 50"):
        make_table(selections=short)


def test_one_token_count_is_no_curve(make_table: Callable[..., LatencyTable], table: LatencyTable) -> None:
    with pytest.raises(LatencyTableError, match="blocks needs at least 2 token counts, but has 1"):
        make_table(blocks={50: table.blocks[50]})


def test_more_tokens_cannot_be_twice_as_fast(
    make_table: Callable[..., LatencyTable], make_row: Callable[[float], Measurement], table: LatencyTable
) -> None:
    with pytest.raises(LatencyTableError, match=r"blocks: num_tokens=34 .* cannot be faster than num_tokens=26"):
        make_table(blocks={**table.blocks, 34: make_row(0.3)})


def test_a_kernel_that_prefers_more_tokens_is_allowed(
    make_table: Callable[..., LatencyTable], make_row: Callable[[float], Measurement], table: LatencyTable
) -> None:
    dip = make_row(0.7 * table.blocks[26].median_ms)
    assert make_table(blocks={**table.blocks, 34: dip}).blocks[34] == dip


@pytest.mark.parametrize("share", [1e-3, 1e-4, 1e-6])
def test_parts_that_are_short_beside_the_reference_have_wide_intervals(
    make_table: Callable[..., LatencyTable], table: LatencyTable, share: float
) -> None:
    """A light selector at few tokens beside a block of a large model: what differs from run to run is more."""
    ratio = repeatable(RatioEstimate(median=share, low=0.99 * share, high=1.01 * share, num_samples=24))
    unit_ms = table.reference.median_ms
    short = Measurement(
        median_ms=ratio.median * unit_ms, low_ms=ratio.low * unit_ms, high_ms=ratio.high * unit_ms, num_samples=24
    )
    light = {**table.other_selections[SelectorKind.LIGHT], 3: short}
    measured = make_table(stem=short, other_selections={SelectorKind.LIGHT: light})
    assert measured.other_selections[SelectorKind.LIGHT][3] == short


def test_tables_travel_between_processes(table: LatencyTable) -> None:
    assert pickle.loads(pickle.dumps(table)) == table  # noqa: S301


def test_the_hash_tells_contents_apart(make_table: Callable[..., LatencyTable], table: LatencyTable) -> None:
    assert make_table().sha256 == table.sha256
    assert make_table(scale=1.03).sha256 != table.sha256


@pytest.mark.parametrize(
    ("load", "num_threads", "warning"),
    [
        (0.2, 2, None),
        (1.2, 1, None),
        (1.2, 2, "2 thread.s. were timed while other programs .load average 1.2. left about 1 of 2 usable core"),
        (9.0, 1, "left about 0 of 2"),
    ],
)
def test_threads_without_free_cores_are_warned_of(
    table: LatencyTable, load: float, num_threads: int, warning: str | None
) -> None:
    warnings = replace(table.conditions, usable_cores=2, load_average=load).warnings(num_threads, num_cores=2)
    if warning is None:
        assert warnings == ()
    else:
        assert re.search(warning, warnings[0])


def test_nothing_is_said_where_the_cores_are_unknown(table: LatencyTable) -> None:
    assert table.conditions.usable_cores is None
    assert table.conditions.warnings(64, num_cores=64) == ()


@pytest.mark.parametrize(("load", "num_free"), [(5.0, None), (14.4, None), (15.0, 1), (40.0, 0)])
def test_programs_on_cores_that_the_process_may_not_use_are_not_held_against_it(
    table: LatencyTable, load: float, num_free: int | None
) -> None:
    """Two cores of a machine of sixteen, whose load is that of all sixteen."""
    warnings = replace(table.conditions, usable_cores=2, load_average=load).warnings(2, num_cores=16)
    assert (warnings == ()) if num_free is None else f"left about {num_free} of 2 usable" in warnings[0]


@pytest.mark.parametrize(("num_precise", "is_warned_of"), [(0, True), (29, True), (30, False), (60, False)])
def test_a_table_whose_rows_are_mostly_imprecise_says_so(
    table: LatencyTable, tmp_path: Path, num_precise: int, is_warned_of: bool
) -> None:
    told = replace(table, conditions=replace(table.conditions, num_rows=60, num_precise_rows=num_precise))
    warnings = [warning for warning in table_warnings(told) if f"Only {num_precise} of 60 rows" in warning]
    assert bool(warnings) == is_warned_of
    told.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == told


@pytest.mark.parametrize(("num_rows", "num_precise"), [(None, 3), (3, None), (3, 4), (3, -1)])
def test_no_more_rows_are_precise_than_there_are(
    table: LatencyTable, num_rows: int | None, num_precise: int | None
) -> None:
    with pytest.raises(ValueError, match="precise"):
        replace(table.conditions, num_rows=num_rows, num_precise_rows=num_precise)
