import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.pareto import ParetoPoint, best_under, hypervolume, knee, nearest, pareto_front

# A coarse grid makes ties, the cases that go wrong, frequent.
COORDINATES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), max_size=30)


def make_points(coordinates):
    return [ParetoPoint(number=n, top1=float(a), latency_ms=float(b)) for n, (a, b) in enumerate(coordinates)]


@given(COORDINATES)
def test_front_equals_the_naive_definition(coordinates):
    points = make_points(coordinates)
    naive = {(p.top1, p.latency_ms) for p in points if not any(q.dominates(p) for q in points)}
    front = pareto_front(points)
    assert {(p.top1, p.latency_ms) for p in front} == naive
    assert len(front) == len(naive)


@given(COORDINATES)
def test_front_rises_and_takes_the_lowest_number_of_equals(coordinates):
    points = make_points(coordinates)
    front = pareto_front(points)
    assert [p.latency_ms for p in front] == sorted({p.latency_ms for p in front})
    assert [p.top1 for p in front] == sorted({p.top1 for p in front})
    for chosen in front:
        equals = [p.number for p in points if (p.top1, p.latency_ms) == (chosen.top1, chosen.latency_ms)]
        assert chosen.number == min(equals)


@given(COORDINATES, st.integers(0, 12), st.integers(1, 12))
def test_hypervolume_counts_the_dominated_cells_of_the_grid(coordinates, min_top1, max_latency):
    points = make_points(coordinates)
    # A unit cell (top-1 from a to a+1, latency from b to b+1) is dominated by a point at or beyond its best corner.
    cells = sum(
        any(p.top1 >= a + 1 and p.latency_ms <= b for p in points)
        for a in range(min_top1, 12)
        for b in range(max_latency)
    )
    assert hypervolume(points, min_top1=min_top1, max_latency_ms=max_latency) == pytest.approx(cells)


@given(COORDINATES, st.integers(0, 13))
def test_best_under_is_the_most_accurate_feasible_point(coordinates, budget):
    points = make_points(coordinates)
    best = best_under(points, budget)
    feasible = [p for p in points if p.latency_ms <= budget]
    if not feasible:
        assert best is None
        return
    assert best in feasible
    assert best.top1 == max(p.top1 for p in feasible)
    assert best in pareto_front(points)


def test_nearest_prefers_the_closest_then_the_more_accurate():
    points = make_points([(50, 8), (60, 12), (70, 20)])
    assert nearest(points, 10.0) == points[1]
    assert nearest(points, 30.0) == points[2]
    assert nearest([], 1.0) is None


def test_knee_is_the_bend_of_the_front():
    front = make_points([(10, 1), (80, 2), (90, 10)])
    assert knee(front) == front[1]
    assert knee(front[:2]) == front[0]
    assert knee([]) is None


@given(COORDINATES.filter(bool))
def test_knee_lies_on_the_front(coordinates):
    front = pareto_front(make_points(coordinates))
    assert knee(front) in front


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_point_refuses_numbers_that_do_not_compare(value):
    with pytest.raises(ValueError, match="finite"):
        ParetoPoint(number=0, top1=value, latency_ms=1.0)
