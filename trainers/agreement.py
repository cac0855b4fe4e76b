"""Whether a model in other forms still gives the answers of the model that was trained, image by image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spvit.errors import DataError

Answers = Callable[[Tensor], Any]
"""Images (B, C, H, W) to logits (B, classes), as a tensor or a NumPy array."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One form on a whole split, beside the model that it is a form of.

    Attributes:
        top1: percent.
        num_images: of the split.
        num_other_answers: images whose best class is another one than the model's.
        max_difference: the largest difference of a logit.
    """

    top1: float
    num_images: int
    num_other_answers: int
    max_difference: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreements:
    """The model itself, every form by name, and the hash of the images and labels that they were run on."""

    model: Agreement
    forms: Mapping[str, Agreement]
    data_sha256: str


@torch.inference_mode()
def compare_answers(
    model: Answers, forms: Mapping[str, Answers], batches: Iterable[tuple[Tensor, Tensor]]
) -> Agreements:
    """Run the model and its forms on the same images.

    Args:
        model: what the others should give.
        forms: by name.
        batches: images (B, C, H, W) on the CPU, and labels (B,).

    Raises:
        DataError: there are no images.
    """
    counts = {name: _Count() for name in (_MODEL, *forms)}
    digest = hashlib.sha256()
    for images, labels in batches:
        digest.update(images.contiguous().numpy().tobytes())
        digest.update(labels.contiguous().numpy().tobytes())
        expected = as_logits(model(images))
        counts[_MODEL].add(expected, expected, labels)
        for name, form in forms.items():
            counts[name].add(as_logits(form(images)), expected, labels)
    if not counts[_MODEL].num_images:
        raise DataError("There are no images to compare answers on. Check the validation split.")
    return Agreements(
        model=counts.pop(_MODEL).agreement(),
        forms={name: count.agreement() for name, count in counts.items()},
        data_sha256=digest.hexdigest(),
    )


@torch.inference_mode()
def largest_difference(model: Answers, form: Answers, images: Tensor, *, batch_size: int) -> float:
    """The largest difference of a logit over the images (N, C, H, W), run in batches of this size."""
    batches = torch.split(images, batch_size)
    return max(float((as_logits(form(batch)) - as_logits(model(batch))).abs().max()) for batch in batches)


def as_logits(answer: Any) -> Tensor:
    """What a form gave, as floats on the CPU."""
    return torch.as_tensor(answer).float().cpu()


_MODEL = ""


class _Count:
    """Adds up one form's answers."""

    def __init__(self) -> None:
        self.num_images = self._num_right = self._num_other = 0
        self._max_difference = 0.0

    def add(self, logits: Tensor, expected: Tensor, labels: Tensor) -> None:
        """One batch."""
        answers = logits.argmax(1)
        self.num_images += len(labels)
        self._num_right += int((answers == labels).sum())
        self._num_other += int((answers != expected.argmax(1)).sum())
        self._max_difference = max(self._max_difference, float((logits - expected).abs().max()))

    def agreement(self) -> Agreement:
        """The sum."""
        return Agreement(
            top1=100.0 * self._num_right / self.num_images,
            num_images=self.num_images,
            num_other_answers=self._num_other,
            max_difference=self._max_difference,
        )
