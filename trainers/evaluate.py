"""Accuracy of a model: deterministic, in evaluation mode, with plain cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from spvit.adaptive import AdaptiveViT
from spvit.errors import DataError
from spvit.options import TokenForm
from trainers.metrics import Evaluation
from trainers.workers import WorkerGroup


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    workers: WorkerGroup | None = None,
    form: TokenForm = TokenForm.GATHERED,
) -> Evaluation:
    """Evaluate `model(images) -> logits`; its mode is put back afterwards.

    Args:
        model: called on images (B, C, H, W).
        batches: images and labels (B,); each worker gives its own share.
        device: where the model is.
        workers: whose shares are added up.
        form: how the model runs, for the record.

    Returns:
        Top-1 and top-5 in percent; with fewer than five classes top-5 counts that many.

    Raises:
        DataError: there are no images.
    """
    was_training = model.training
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    for images, labels in batches:
        sums += _count(model(images.to(device)), labels.to(device))
    model.train(was_training)
    top1, top5, loss, count = (workers or WorkerGroup.single()).all_reduce_sum(sums).tolist()
    if not count:
        raise DataError("There are no images to evaluate on. Check the validation split.")
    return Evaluation(
        top1=100 * top1 / count, top5=100 * top5 / count, loss=loss / count, num_images=int(count), form=form
    )


def evaluate_adaptive(
    model: AdaptiveViT, batches: Iterable[tuple[Tensor, Tensor]], *, device: torch.device | str = "cpu"
) -> tuple[Evaluation, NDArray[np.int64]]:
    """The same for the adaptive form, with the patches (images, selectors) that every image kept.

    Raises:
        DataError: there are no images.
    """
    recorder = _CountRecorder(model)
    evaluation = evaluate(recorder, batches, device=device, form=TokenForm.ADAPTIVE)
    return evaluation, torch.cat(recorder.num_kept).numpy()


class _CountRecorder(nn.Module):
    """Gives a model's logits and remembers what each image kept."""

    def __init__(self, model: AdaptiveViT) -> None:
        super().__init__()
        self.model = model
        self.num_kept: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        output = self.model.run(images)
        self.num_kept.append(output.num_kept.cpu())
        return output.logits


def _count(logits: Tensor, labels: Tensor) -> Tensor:
    logits = logits.float()
    loss = F.cross_entropy(logits, labels, reduction="sum")
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack([best[:, 0].sum(), best.sum(), loss, labels.new_tensor(len(labels))]).double()
