"""The accuracies of many schedules on the same images in the same order, so that they can be compared in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from spvit.errors import DataError
from spvit.many import ManySchedules
from spvit.pruned_model import PrunedModel
from spvit.schedule import PruningSchedule
from trainers.workers import WorkerGroup

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Labelled = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class ScheduleScores:
    """What S schedules made of the same I images.

    Attributes:
        correct: (S, I), whether a schedule was right about an image; one that is the same network has the same row.
        top5: (S,), in percent; with fewer than five classes it counts that many.
        losses: (S,), mean cross-entropy.
    """

    correct: Flags
    top5: Floats
    losses: Floats

    @property
    def num_images(self) -> int:
        """I."""
        return int(self.correct.shape[1])

    @property
    def top1(self) -> Floats:
        """(S,), in percent."""
        shares: Floats = 100.0 * self.correct.sum(axis=1) / self.num_images
        return shares

    @property
    def top1_errors(self) -> Floats:
        """(S,), standard errors of the same, in points. Differences of schedules are surer: see `elimination`."""
        shares = self.correct.mean(axis=1)
        errors: Floats = 100.0 * np.sqrt(shares * (1.0 - shares) / self.num_images)
        return errors

    @classmethod
    def joined(cls, parts: Sequence[ScheduleScores]) -> ScheduleScores:
        """The same schedules on the images of all parts."""
        weights = [part.num_images for part in parts]
        return cls(
            correct=np.concatenate([part.correct for part in parts], axis=1),
            top5=np.average([part.top5 for part in parts], axis=0, weights=weights),
            losses=np.average([part.losses for part in parts], axis=0, weights=weights),
        )

    def of(self, schedules: NDArray[np.int64]) -> ScheduleScores:
        """Some of the schedules, by their numbers."""
        return ScheduleScores(correct=self.correct[schedules], top5=self.top5[schedules], losses=self.losses[schedules])


@torch.inference_mode()
def price_schedules(
    model: PrunedModel,
    schedules: Sequence[PruningSchedule],
    batches: Labelled,
    *,
    device: torch.device | str = "cpu",
    workers: WorkerGroup | None = None,
) -> ScheduleScores:
    """Evaluate one set of weights under many schedules; the model's mode is put back afterwards.

    Schedules that begin alike share the blocks that they have in common, and each is right about the same images as it
    is by itself, to the bit: see `spvit.many`.

    Args:
        model: has a selector wherever a schedule drops tokens; elastic weights serve all of them.
        schedules: in any order.
        batches: images (B, C, H, W) and labels (B,); each worker gives its own share.
        device: where the model is.
        workers: whose shares are put together. The images are then in the order of the workers.

    Raises:
        DataError: there are no images.
        ValueError: a schedule drops tokens where the model has no selector.
    """
    was_training = model.training
    model.eval()
    many = ManySchedules(model, tuple(schedules))
    counts = [_count(many, images.to(device), labels.to(device)) for images, labels in batches]
    model.train(was_training)
    none = torch.zeros(3, len(many.networks), 0, dtype=torch.float64, device=device)
    own = torch.cat(counts, dim=2) if counts else none
    correct, among_five, losses = _of_all_workers(own, workers or WorkerGroup.single()).cpu().numpy()
    if not correct.shape[1]:
        raise DataError("There are no images to evaluate on. Check the validation split.")
    networks = np.array(many.tree.networks, dtype=np.int64)
    return ScheduleScores(
        correct=correct[networks] > 0.5,
        top5=100.0 * among_five.sum(axis=1)[networks] / correct.shape[1],
        losses=losses.mean(axis=1)[networks],
    )


def _count(many: ManySchedules, images: Tensor, labels: Tensor) -> Tensor:
    """Whether each network is right about each image, among its best five, and its loss: (3, networks, B)."""
    found = torch.empty(3, len(many.networks), len(labels), dtype=torch.float64, device=labels.device)
    for number, raw in many.logits(images):
        logits = raw.float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        found[0, number], found[1, number] = best[:, 0].double(), best.any(1).double()
        found[2, number] = F.cross_entropy(logits, labels, reduction="none").double()
    return found


def _of_all_workers(own: Tensor, workers: WorkerGroup) -> Tensor:
    """Every worker's share (3, networks, images), one behind the other; workers may have different numbers."""
    counts = counts_of_workers(own.shape[2], workers, own.device)
    whole = own.new_zeros(*own.shape[:2], sum(counts))
    start = sum(counts[: workers.rank])
    whole[:, :, start : start + own.shape[2]] = own
    return workers.all_reduce_sum(whole)


def counts_of_workers(own: int, workers: WorkerGroup, device: torch.device | str) -> list[int]:
    """What each worker counts, this one `own`, in the order of their ranks."""
    counts = torch.zeros(workers.world_size, dtype=torch.int64, device=device)
    counts[workers.rank] = own
    return [int(count) for count in workers.all_reduce_sum(counts).tolist()]
