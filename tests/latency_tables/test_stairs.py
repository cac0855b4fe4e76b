"""Snapping to plateaus: never dearer, never fewer tokens, in order, and right on a staircase whose answer is known."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_tables.curves import Curve
from latency_tables.measurement import Measurement
from latency_tables.provenance import Provenance
from latency_tables.stairs import Plateau, level_plateaus, plateaus, snap
from latency_tables.table import LatencyTable


def row(ms: float, noise: float = 0.01) -> Measurement:
    return Measurement(median_ms=ms, low_ms=ms * (1 - noise), high_ms=ms * (1 + noise), num_samples=24)


@st.composite
def curves(draw: st.DrawFn) -> dict[int, Measurement]:
    counts = sorted(draw(st.sets(st.integers(1, 200), min_size=2, max_size=12)))
    noise = draw(st.sampled_from([0.0, 0.01, 0.3]))
    times = st.one_of(st.floats(0.5, 4.0), st.sampled_from([1.0, 1.005, 2.0]))
    return {count: row(draw(times), noise) for count in counts}


def cost(num_tokens: int, stairs: tuple[Plateau, ...]) -> float:
    return next(plateau.ms for plateau in stairs if plateau.first <= num_tokens <= plateau.last)


@given(curve=curves())
def test_plateaus_cover_every_count_once(curve: Curve) -> None:
    stairs = plateaus(curve)
    covered = [count for plateau in stairs for count in range(plateau.first, plateau.last + 1)]
    assert covered == list(range(min(curve), max(curve) + 1))


@given(curve=curves(), data=st.data())
def test_snapped_never_costs_more_and_stays(curve: Curve, data: st.DataObject) -> None:
    stairs = plateaus(curve)
    count = data.draw(st.integers(min(curve), max(curve)))
    snapped = snap(count, stairs)
    assert snapped >= count
    assert cost(snapped, stairs) <= cost(count, stairs)
    assert snap(snapped, stairs) == snapped


@given(curve=curves())
def test_more_tokens_are_never_snapped_to_fewer(curve: Curve) -> None:
    stairs = plateaus(curve)
    snapped = [snap(count, stairs) for count in range(min(curve), max(curve) + 1)]
    assert snapped == sorted(snapped)


def test_a_staircase_is_found_within_its_noise() -> None:
    curve = {2: row(1.0), 31: row(1.004), 32: row(0.997), 33: row(2.0), 63: row(1.99), 64: row(2.01), 65: row(3.0)}
    stairs = plateaus(curve)
    assert [(plateau.first, plateau.last) for plateau in stairs] == [(2, 32), (33, 64), (65, 65)]
    assert [snap(count, stairs) for count in (2, 31, 32, 33, 50, 65)] == [32, 32, 32, 64, 64, 65]


def test_a_slope_is_not_level_step_by_step() -> None:
    curve = {count: row(1.0 + 0.008 * count, noise=0.009) for count in range(1, 20)}
    assert all(plateau.last - plateau.first <= 1 for plateau in plateaus(curve))


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_what_rises_is_not_level_however_wide_its_intervals(noise: float) -> None:
    """A straight line of a disturbed measurement: no plateau is more than a hundredth dearer than its first count."""
    curve = {count: row(0.2 + 0.01 * count, noise) for count in range(2, 198)}
    for plateau in plateaus(curve):
        assert plateau.ms <= 1.01 * curve[plateau.first].median_ms


def test_assumed_intervals_of_an_imported_table_make_nothing_level(table: LatencyTable) -> None:
    blocks = {2: row(1.0, 0.1), 18: row(1.005, 0.1), 34: row(1.006, 0.1), 49: row(1.006, 0.1), 50: row(2.0, 0.1)}
    measured = replace(table, blocks=blocks)
    imported = replace(measured, provenance=Provenance(imported_from="board.csv"))
    assert snap(2, level_plateaus(measured)[0]) == 49
    (stairs,) = level_plateaus(imported)
    assert [snap(count, stairs) for count in (2, 10, 18, 33, 34, 49, 50)] == [2, 10, 18, 33, 49, 49, 50]


def test_between_plateaus_predictions_rise_so_that_nothing_is_free() -> None:
    stairs = plateaus({10: row(1.0), 20: row(2.0)})
    assert [snap(count, stairs) for count in range(10, 21)] == list(range(10, 21))
    assert cost(15, stairs) == pytest.approx(1.5)


def test_a_full_tile_that_is_faster_is_reached_and_not_left() -> None:
    stairs = plateaus({24: row(6.0), 31: row(7.8), 32: row(5.9), 40: row(7.0)})
    assert snap(31, stairs) == 32 == snap(32, stairs)
    assert snap(24, stairs) == 24  # what is cheap again lies behind a step up


@pytest.mark.parametrize("count", [9, 21])
def test_a_count_beyond_the_stairs_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} tokens lie outside of the stairs, which cover 10 to 20 tokens"):
        snap(count, plateaus({10: row(1.0), 20: row(2.0)}))


def test_no_stairs_snap_nothing() -> None:
    with pytest.raises(ValueError, match="cover no tokens"):
        snap(1, ())


@pytest.mark.parametrize(("first", "last", "ms"), [(0, 1, 1.0), (2, 1, 1.0), (1, 1, 0.0)])
def test_what_is_no_plateau_is_refused(first: int, last: int, ms: float) -> None:
    with pytest.raises(ValueError, match="1 <= first <= last"):
        Plateau(first=first, last=last, ms=ms)


def test_every_level_has_its_own_stairs(leveled: LatencyTable, make_row: Callable[[float], Measurement]) -> None:
    first, second = level_plateaus(leveled)
    assert (first[0].first, first[-1].last) == (2, 50)
    assert (second[0].first, second[-1].last) == (2, 13)
    assert second == plateaus({n: make_row(0.3 + 0.07 * n) for n in (2, 7, 13)})
