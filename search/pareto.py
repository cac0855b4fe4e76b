"""The trade-off between accuracy and latency: fronts, hypervolume, and choices on a front. Pure.

Points compare by top-1 (higher is better) and latency (lower is better). Where two points are equal in both, the one
with the lower number stands for both, so that every answer is well defined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ParetoPoint:
    """What one trial reached: top-1 in percent at a latency in milliseconds."""

    number: int
    top1: float
    latency_ms: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.top1) and math.isfinite(self.latency_ms)):
            raise ValueError(f"A point on a front needs finite numbers, but got {self}.")

    def dominates(self, other: ParetoPoint) -> bool:
        """Whether this point is at least as good in both and better in one."""
        as_good = self.top1 >= other.top1 and self.latency_ms <= other.latency_ms
        return as_good and (self.top1 > other.top1 or self.latency_ms < other.latency_ms)


def pareto_front(points: Iterable[ParetoPoint]) -> tuple[ParetoPoint, ...]:
    """Points that no other point dominates, from the fastest to the most accurate; both coordinates rise strictly.

    One sort and one sweep: O(n log n).
    """
    front: list[ParetoPoint] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, -p.top1, p.number)):
        if not front or point.top1 > front[-1].top1:
            front.append(point)
    return tuple(front)


def hypervolume(points: Iterable[ParetoPoint], *, min_top1: float, max_latency_ms: float) -> float:
    """Area (percent x milliseconds) between the front and a reference point; exact in two dimensions.

    Points that are not strictly better than the reference in both add nothing.

    Args:
        points: any points; dominated ones do no harm.
        min_top1: the reference's top-1, percent.
        max_latency_ms: the reference's latency.
    """
    inside = (p for p in points if p.top1 > min_top1 and p.latency_ms < max_latency_ms)
    area, below = 0.0, min_top1
    for point in pareto_front(inside):
        area += (point.top1 - below) * (max_latency_ms - point.latency_ms)
        below = point.top1
    return area


class GrowingFront:
    """A front whose points come one after the other: each costs what the front is long, not what came before.

    Args:
        min_top1: the reference's top-1 for the hypervolume, percent.
        max_latency_ms: the reference's latency.
    """

    def __init__(self, *, min_top1: float, max_latency_ms: float) -> None:
        self._min_top1, self._max_latency_ms = min_top1, max_latency_ms
        self.points: tuple[ParetoPoint, ...] = ()
        self.hypervolume = 0.0

    def add(self, point: ParetoPoint) -> None:
        """One more point; `points` and `hypervolume` are as of all points so far."""
        front = pareto_front([*self.points, point])
        if front == self.points:
            return
        self.points = front
        self.hypervolume = hypervolume(front, min_top1=self._min_top1, max_latency_ms=self._max_latency_ms)


def best_under(points: Iterable[ParetoPoint], max_latency_ms: float) -> ParetoPoint | None:
    """The most accurate point within a latency; among equals the fastest, then the lowest number."""
    within = (p for p in points if p.latency_ms <= max_latency_ms)
    return min(within, key=lambda p: (-p.top1, p.latency_ms, p.number), default=None)


def nearest(points: Iterable[ParetoPoint], max_latency_ms: float) -> ParetoPoint | None:
    """The point whose latency lies closest to a budget, on either side: what to offer if none is within it."""
    return min(points, key=lambda p: (abs(p.latency_ms - max_latency_ms), -p.top1, p.number), default=None)


def knee(front: Sequence[ParetoPoint]) -> ParetoPoint | None:
    """The point of a front that lies farthest above the line between its two ends, in coordinates scaled to [0, 1].

    Beyond it a little more accuracy costs much latency. A front of one or two points has no bend: its first point.
    """
    if not front:
        return None
    first, last = front[0], front[-1]
    if len(front) < 3:
        return first

    def height(point: ParetoPoint) -> float:
        accuracy = (point.top1 - first.top1) / (last.top1 - first.top1)
        latency = (point.latency_ms - first.latency_ms) / (last.latency_ms - first.latency_ms)
        return accuracy - latency

    return max(front, key=height)
