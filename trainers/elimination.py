"""Which of many schedules can be the best for their cost: most are ruled out on a part of the images.

The same images are shown to all, so two schedules differ only where one is right and the other wrong. Were the slower
of the two as good or better, each of these images would fall to it with a chance of at least one half: an exact sign
test (McNemar, 1947), which assumes nothing about how accuracies are distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom

from spvit.pruned_model import PrunedModel
from spvit.schedule import PruningSchedule
from trainers.data import Batches
from trainers.many_schedules import Flags, Floats, ScheduleScores, counts_of_workers, price_schedules
from trainers.workers import WorkerGroup

Numbers = NDArray[np.int64]
Evaluate = Callable[[Numbers, int], ScheduleScores]
"""Scores of the schedules of these numbers on a part of the images, by its number."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What became of S schedules.

    Attributes:
        top1: (S,), in percent, on the images that a schedule was shown.
        num_images: (S,), how many these are.
        is_contender: (S,), whether it was shown all images, so that its top-1 is that of the full set.
        confidence: the chance that each schedule that was ruled out is in truth worse than one that costs no more.
    """

    top1: Floats
    num_images: Numbers
    is_contender: Flags
    confidence: float

    @property
    def contenders(self) -> Numbers:
        """Their numbers."""
        return np.flatnonzero(self.is_contender)


def price_contenders(
    model: PrunedModel,
    schedules: Sequence[PruningSchedule],
    costs: Sequence[float],
    batches: Batches,
    *,
    first_batches: int = 4,
    confidence: float = 0.95,
    device: torch.device | str = "cpu",
    workers: WorkerGroup | None = None,
) -> Contest:
    """The accuracies of many schedules, of those on all images that can be the best for their cost.

    Each part of the images is as large as all before it together, so that whoever is shown the next one has cost as
    much as was spent on it already.

    Args:
        model: see `price_schedules`.
        schedules: in any order.
        costs: of the schedules, in any unit.
        batches: the split; read once, in its fixed order, of which the first images are as good a sample as any.
        first_batches: batches of the first part, which is shown to all schedules.
        confidence: see `eliminate`.
        device: where the model is.
        workers: that share the images; all come to the same result.

    Raises:
        DataError: there are no images.
        ValueError: see `eliminate` and `price_schedules`, or not one cost for each schedule.
    """
    if len(costs) != len(schedules):
        raise ValueError(f"Each of {len(schedules)} schedules needs a cost, but got {len(costs)}.")
    images = batches.epoch(0)
    # Workers' shares may differ by a batch, but all must go through as many parts.
    num_batches = max(counts_of_workers(batches.num_batches(), workers or WorkerGroup.single(), device))
    sizes = list(part_sizes(num_batches, first_batches))

    def evaluate(numbers: Numbers, part: int) -> ScheduleScores:
        chosen, shown = [schedules[number] for number in numbers], islice(images, sizes[part])
        return price_schedules(model, chosen, shown, device=device, workers=workers)

    return eliminate(costs, evaluate, max(1, len(sizes)), confidence=confidence)


def part_sizes(num_batches: int, first: int) -> Iterator[int]:
    """Batches of each part: the first, then each time as many as all before, then what is left."""
    done = 0
    while done < num_batches:
        size = min(max(first, done), num_batches - done)
        yield size
        done += size


def eliminate(costs: Sequence[float], evaluate: Evaluate, num_parts: int, *, confidence: float = 0.95) -> Contest:
    """Show images part by part, and after each part rule out schedules that another beats for no more cost.

    Args:
        costs: (S,), of the schedules.
        evaluate: shows some of the schedules one part of the images; parts are disjoint, and alike in distribution.
        num_parts: parts of the images, the first of which is shown to all schedules.
        confidence: that no schedule is ruled out wrongly, over all pairs and parts together.

    Raises:
        ValueError: there is no schedule, no part, or the confidence does not lie between 0 and 1.
    """
    if not len(costs) or num_parts < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"A contest needs schedules, parts and a confidence in (0, 1), but got {len(costs)} schedules, {num_parts} "
            f"parts and {confidence}."
        )
    prices, left = np.asarray(costs, dtype=np.float64), np.arange(len(costs))
    top1, num_images = np.zeros(len(costs)), np.zeros(len(costs), dtype=np.int64)
    seen: ScheduleScores | None = None
    for part in range(num_parts):
        shown = evaluate(left, part)
        seen = shown if seen is None else ScheduleScores.joined([seen, shown])
        top1[left], num_images[left] = seen.top1, seen.num_images
        if part < num_parts - 1:
            stays = ~beaten(seen.correct, prices[left], chance=_chance(confidence, len(costs), num_parts))
            left, seen = left[stays], seen.of(np.flatnonzero(stays))
    is_contender = np.zeros(len(costs), dtype=np.bool_)
    is_contender[left] = True
    return Contest(top1=top1, num_images=num_images, is_contender=is_contender, confidence=confidence)


def beaten(correct: Flags, costs: Floats, *, chance: float) -> Flags:
    """Which schedules another beats that costs no more, where a tie would look so with less than this chance, (S,).

    Each is compared with the one that is right most often among those; that they all could be is in `chance`.

    Args:
        correct: (S, I).
        costs: (S,).
        chance: of a single comparison.
    """
    right = correct.sum(axis=1)
    champions = np.array([_best(right, costs <= cost) for cost in costs])
    wins = (correct[champions] & ~correct).sum(axis=1)
    losses = (correct & ~correct[champions]).sum(axis=1)
    flags: Flags = (binom.sf(wins - 1, wins + losses, 0.5) < chance) & (wins > losses)
    return flags


def _best(right: Numbers, among: Flags) -> int:
    return int(np.argmax(np.where(among, right, -1)))


def _chance(confidence: float, num_schedules: int, num_parts: int) -> float:
    """Of one comparison, if all pairs after all parts but the last are to be right together (Bonferroni)."""
    num_pairs = max(1, num_schedules * (num_schedules - 1))
    return (1.0 - confidence) / (num_pairs * max(1, num_parts - 1))
