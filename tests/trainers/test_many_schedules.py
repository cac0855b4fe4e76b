"""Many schedules on the same images: the accuracies that each has by itself, and which of them can be the best."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from tiny import ARGS
from torch import Tensor

from spvit.errors import DataError
from spvit.factory import create_backbone
from spvit.pruned_model import PrunedModel
from spvit.pruning import prune
from spvit.schedule import PruningSchedule
from trainers.elimination import beaten, eliminate, part_sizes, price_contenders
from trainers.evaluate import evaluate
from trainers.many_schedules import ScheduleScores, price_schedules

SCHEDULES = [
    PruningSchedule.from_keep_rates(rates, [1, 2]) for rates in ([0.5, 0.3], [0.5, 0.2], [0.9, 0.3], [1.0, 0.4])
] + [PruningSchedule()]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> PrunedModel:
    torch.manual_seed(0)
    return prune(
        create_backbone("vit_tiny_patch16_224", args=ARGS), PruningSchedule.from_keep_rates([0.9, 0.8], [1, 2])
    )


class FixedBatches:
    """Images and labels at random, always the same."""

    def __init__(self, sizes: tuple[int, ...] = (6, 6, 6, 6, 3)) -> None:
        generator = torch.Generator().manual_seed(1)
        self._batches = [
            (torch.randn(n, 1, 8, 8, generator=generator), torch.randint(4, (n,), generator=generator)) for n in sizes
        ]
        self.num_images, self.class_names = sum(sizes), ("a", "b", "c", "d")

    def num_batches(self) -> int:
        return len(self._batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        del epoch
        return iter(self._batches)


def test_scores_are_those_of_each_schedule_alone(model: PrunedModel):
    batches = FixedBatches()
    scores = price_schedules(model.train(), SCHEDULES, batches.epoch(0))
    assert model.training
    assert scores.num_images == 27
    for number, schedule in enumerate(SCHEDULES):
        alone = evaluate(model.at(schedule), batches.epoch(0))
        assert scores.top1[number] == alone.top1
        assert scores.top5[number] == alone.top5
        assert scores.losses[number] == pytest.approx(alone.loss, rel=1e-5)


def test_parts_of_the_images_join_to_all_of_them(model: PrunedModel):
    batches = list(FixedBatches().epoch(0))
    whole = price_schedules(model, SCHEDULES, batches)
    joined = ScheduleScores.joined([price_schedules(model, SCHEDULES, part) for part in (batches[:2], batches[2:])])
    assert np.array_equal(joined.correct, whole.correct)
    np.testing.assert_allclose(joined.losses, whole.losses)
    some = np.array([2, 0])
    assert np.array_equal(whole.of(some).top1, whole.top1[some])


def test_no_images_are_refused(model: PrunedModel):
    with pytest.raises(DataError, match="no images to evaluate on"):
        price_schedules(model, SCHEDULES, [])


def test_contenders_have_the_accuracy_of_the_full_set(model: PrunedModel):
    batches, costs = FixedBatches(), [2.0, 1.0, 3.0, 3.5, 4.0]
    whole = price_schedules(model, SCHEDULES, batches.epoch(0))
    contest = price_contenders(model, SCHEDULES, costs, batches, first_batches=1)
    assert (contest.num_images[contest.is_contender] == 27).all()
    np.testing.assert_array_equal(contest.top1[contest.contenders], whole.top1[contest.contenders])
    assert contest.is_contender[1]  # nothing is cheaper
    with pytest.raises(ValueError, match="Each of 5 schedules needs a cost, but got 2"):
        price_contenders(model, SCHEDULES, [1.0, 2.0], batches)


def table(shares: list[float], num_images: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(shares), num_images)) < np.array(shares)[:, None]


def from_table(correct: np.ndarray, ends: list[int]):
    def evaluate_part(numbers: np.ndarray, part: int) -> ScheduleScores:
        shown = correct[numbers, ends[part] : ends[part + 1]]
        return ScheduleScores(correct=shown, top5=np.zeros(len(numbers)), losses=np.zeros(len(numbers)))

    return evaluate_part


def test_what_is_clearly_worse_for_no_less_is_ruled_out_early():
    correct = table([0.6, 0.9, 0.5, 0.91], 2000, seed=0)
    contest = eliminate([1.0, 2.0, 3.0, 4.0], from_table(correct, [0, 250, 500, 2000]), 3)
    assert contest.contenders.tolist() == [0, 1, 3]
    assert contest.num_images.tolist() == [2000, 2000, 250, 2000]


def test_equal_schedules_are_seldom_ruled_out():
    wrong = 0
    for seed in range(60):
        correct = table([0.8] * 8, 800, seed)
        wrong += len(eliminate(range(8), from_table(correct, [0, 200, 400, 800]), 3, confidence=0.9).contenders) < 8
    assert wrong <= 6


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_comparison_is_the_exact_sign_test(wins: int, losses: int):
    champion = np.r_[np.ones(wins), np.zeros(losses), np.ones(50)] > 0
    other = np.r_[np.zeros(wins), np.ones(losses), np.ones(50)] > 0
    flags = beaten(np.stack((champion, other)), np.array([1.0, 2.0]), chance=0.01)
    chance = binomtest(wins, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
    assert not flags[0]
    assert flags[1] == (chance < 0.01 and wins > losses)


@given(st.integers(0, 200), st.integers(1, 30))
def test_parts_double_and_leave_nothing_out(num_batches: int, first: int):
    sizes = list(part_sizes(num_batches, first))
    assert sum(sizes) == num_batches
    assert all(size > 0 for size in sizes)
    done = np.cumsum(sizes)
    assert all(size == before for size, before in zip(sizes[1:-1], done[:-2], strict=True))


def test_a_contest_without_sense_is_refused():
    for costs, parts, confidence in (([], 1, 0.9), ([1.0], 0, 0.9), ([1.0], 1, 1.0)):
        with pytest.raises(ValueError, match="A contest needs schedules, parts and a confidence"):
            eliminate(costs, from_table(table([0.5], 10, 0), [0, 10]), parts, confidence=confidence)
