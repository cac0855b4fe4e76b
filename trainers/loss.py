"""The loss of one step: what its terms are and how they are added up (SPViT, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spvit.errors import ConfigError
from spvit.losses import distillation_loss, keep_ratio_loss, token_distillation_loss
from spvit.pruned_model import PrunedModel, PrunedOutput
from trainers.config import LossWeights, TrialConfig
from trainers.frozen_part import hold_frozen_still, is_leading_frozen
from trainers.latency_loss import LatencySurrogate
from trainers.teacher import TeacherOutput
from trainers.workers import WorkerGroup


@dataclass(frozen=True, kw_only=True)
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


class Criterion(nn.Module):
    """The loss of a batch. Terms whose weight is 0 are not computed.

    The ratio term acts on expected keep fractions. In gathered form the counts are exact without it; there it keeps
    the scores calibrated, so that they weigh package tokens well and mean the same in masked form.

    Args:
        weights: of the terms.
        label_smoothing: of the classification.
        latency: what decisions cost, where `weights.latency` is above 0.
        workers: the processes that train together: the keep rates are those of the batch of all of them.
    """

    def __init__(
        self,
        weights: LossWeights,
        *,
        label_smoothing: float = 0.0,
        latency: LatencySurrogate | None = None,
        workers: WorkerGroup | None = None,
    ) -> None:
        super().__init__()
        self.latency = latency
        self._weights, self._label_smoothing = weights, label_smoothing
        self._workers = workers or WorkerGroup.single()

    @property
    def weights(self) -> LossWeights:
        """The weights of the terms."""
        return self._weights

    @property
    def reads_patches(self) -> bool:
        """Whether any term needs the patch tokens of the student."""
        return self._weights.token_distillation > 0

    def forward(self, output: PrunedOutput, teacher: TeacherOutput | None, targets: Tensor) -> LossTerms:
        """Loss of a pruned model's output with labels (B,) or soft targets (B, classes)."""
        weights = self._weights
        logits = output.logits.float()
        terms = {"classification": F.cross_entropy(logits, targets, label_smoothing=self._label_smoothing)}
        if output.selections:
            terms |= self._selection_terms(output)
        if weights.distillation > 0 and teacher is not None:
            terms["distillation"] = distillation_loss(logits, teacher.logits, weights.distillation_temperature)
        if weights.token_distillation > 0 and teacher is not None:
            terms["token_distillation"] = token_distillation_loss(output, teacher.patch_tokens)
        total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        return LossTerms(total=total, terms=terms)

    def _selection_terms(self, output: PrunedOutput) -> dict[str, Tensor]:
        weights, terms = self._weights, {}
        kept = torch.stack([selection.keep_fraction.float() for selection in output.selections])
        shares = self._workers.share_of_mean(kept.mean(1))
        if weights.ratio > 0:
            fractions = kept if weights.ratio_per_image else shares.unsqueeze(1)
            wanted = [selection.target_keep_rate for selection in output.selections]
            terms["ratio"] = keep_ratio_loss(
                fractions.unbind(), wanted, per_image=weights.ratio_per_image, hinge=weights.ratio_hinge
            )
        if self.latency is not None:
            terms["latency"] = self.latency.excess(shares)
        return terms


def make_criterion(model: PrunedModel, config: TrialConfig, workers: WorkerGroup | None = None) -> Criterion:
    """The loss that a trial's configuration describes.

    Raises:
        ConfigError: the latency term has a weight but nothing to aim at.
    """
    losses = config.losses
    if losses.latency > 0 and config.latency is None:
        raise ConfigError(
            f"losses.latency = {losses.latency:g} needs a latency table and a budget, but this trial has none. Set "
            "latency.max_latency_ms or latency.max_latency_share, and measure with `spvit-search profile EXPERIMENT`."
        )
    latency = None
    if losses.latency > 0 and config.latency is not None:
        latency = LatencySurrogate(config.latency, model, config.pruning.selector)
    return Criterion(losses, label_smoothing=config.training.label_smoothing, latency=latency, workers=workers)


class TrainingStep(nn.Module):
    """Student and teacher on one batch: images and targets in, loss terms out. What a group of workers wraps.

    While nothing before the first selector learns, its tokens are computed once, without autograd, for both: the
    teacher's leading part is then the student's own.
    """

    leaves_some_unused: ClassVar[bool] = False
    """Whether a step may leave some of the parameters that learn without a gradient."""

    def __init__(self, student: PrunedModel, teacher: nn.Module, criterion: Criterion, config: TrialConfig) -> None:
        super().__init__()
        self.student, self.teacher, self.criterion = student, teacher, criterion
        self._training = config.training

    def train(self, mode: bool = True) -> TrainingStep:
        """Set the mode; what is frozen stays in evaluation mode. Call it again after freezing or unfreezing."""
        super().train(mode)
        hold_frozen_still(self.student)
        return self

    def forward(self, images: Tensor, targets: Tensor, temperature: float = 1.0) -> LossTerms:
        """Loss of images (B, C, H, W) with labels (B,) or soft targets (B, classes)."""
        leading_tokens = self.leading_tokens(images)
        output = self.run_student(self.student, images, leading_tokens, temperature)
        loss: LossTerms = self.criterion(output, self.teacher(images, leading_tokens), targets)
        return loss

    def begin(self, epoch: int, step: int) -> None:
        """Told before each step of an epoch, both counted from 0; here every step is alike."""

    def run_student(
        self, student: PrunedModel, images: Tensor, leading_tokens: Tensor | None, temperature: float
    ) -> PrunedOutput:
        """The student, under whatever schedule, as it is run in training."""
        return student.run(
            images,
            form=self._training.form,
            sample=True,
            temperature=temperature,
            noise_scale=self._training.noise_scale,
            leading_tokens=leading_tokens,
            with_patches=self.criterion.reads_patches,
        )

    def leading_tokens(self, images: Tensor) -> Tensor | None:
        """Tokens that reach the first selector, without a graph; None where their computation is to be learnt."""
        if not is_leading_frozen(self.student):
            return None
        with torch.no_grad():
            return self.student.leading_tokens(images)


def weighted_mean(parts: Sequence[tuple[float, LossTerms]]) -> LossTerms:
    """Loss terms of a batch from those of its parts and each part's share of it; without gradients."""
    names = parts[0][1].names
    means = torch.stack([share * part.detached() for share, part in parts]).sum(0)
    terms = dict(zip(names, means.unbind(), strict=True))
    return LossTerms(total=terms.pop("total"), terms=terms)
