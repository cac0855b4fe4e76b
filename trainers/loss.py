"""The loss of one step: what its terms are and how they are added up (SPViT, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spvit.losses import distillation_loss, keep_ratio_loss, token_distillation_loss
from spvit.model import PrunedOutput, PrunedViT
from trainers.config import LossWeights, TrainingConfig
from trainers.teacher import TeacherOutput


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """The weighted sum to minimise and its unweighted terms, all scalars."""

    total: Tensor
    terms: dict[str, Tensor]

    def detached(self) -> Tensor:
        """Total and terms in one vector, in the order of `names`."""
        return torch.stack([self.total.detach(), *(term.detach() for term in self.terms.values())])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries of `detached`."""
        return ("total", *self.terms)


class TrainingStep(nn.Module):
    """Student and teacher on one batch: images and targets in, loss terms out. What a group of workers wraps."""

    def __init__(
        self, student: PrunedViT, teacher: nn.Module, *, weights: LossWeights, training: TrainingConfig
    ) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self._weights, self._training = weights, training

    def forward(self, images: Tensor, targets: Tensor) -> LossTerms:
        """Loss of images (B, C, H, W) with labels (B,) or soft targets (B, classes)."""
        training = self._training
        output = self.student.run(
            images,
            form=training.form,
            sample=True,
            temperature=training.temperature,
            noise_scale=training.noise_scale,
        )
        return loss_terms(output, self.teacher(images), targets, self._weights, training.label_smoothing)


def loss_terms(
    output: PrunedOutput,
    teacher: TeacherOutput | None,
    targets: Tensor,
    weights: LossWeights,
    label_smoothing: float = 0.0,
) -> LossTerms:
    """Terms whose weight is 0 are not computed.

    The ratio term acts on expected keep fractions. In gathered form the counts are exact without it; there it keeps
    the scores calibrated, so that they weigh package tokens well and mean the same in masked form.
    """
    terms = {"classification": F.cross_entropy(output.logits.float(), targets, label_smoothing=label_smoothing)}
    if weights.ratio > 0 and output.selections:
        fractions = [selection.keep_fraction for selection in output.selections]
        terms["ratio"] = keep_ratio_loss(fractions, [selection.target_keep_rate for selection in output.selections])
    if weights.distillation > 0 and teacher is not None:
        terms["distillation"] = distillation_loss(output.logits, teacher.logits)
    if weights.token_distillation > 0 and teacher is not None:
        terms["token_distillation"] = token_distillation_loss(output, teacher.patch_tokens)
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return LossTerms(total=total, terms=terms)
