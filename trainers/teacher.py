"""The unpruned model that a trial learns from, or nothing where no loss needs it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spvit.model import dense_tokens, trailing_dense_tokens
from spvit.pruned_model import PrunedModel
from trainers.build import original_backbone
from trainers.config import TrainingConfig, TrialConfig
from trainers.frozen_part import leading_modules
from trainers.optim import is_leading_fixed


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherOutput:
    """Logits (B, classes) and patch tokens (B, N0, C) after the final norm."""

    logits: Tensor
    patch_tokens: Tensor


class Teacher(nn.Module):
    """The backbone as it was before it was trained for pruning; always in evaluation mode.

    Args:
        student: the model to be trained.
        config: how. What is never trained is shared with the student; only the rest is copied.
        original: the backbone to learn from where the student starts from other weights; the student's own if absent.
    """

    def __init__(self, student: PrunedModel, config: TrainingConfig, original: nn.Module | None = None) -> None:
        super().__init__()
        shared = {id(part): part for part in _never_trained(student, config)}
        self.backbone = (copy.deepcopy(student.backbone, shared) if original is None else original).eval()
        own = (p for p in self.backbone.parameters() if id(p) not in {id(s) for s in student.parameters()})
        for parameter in own:
            parameter.requires_grad_(False)
        self._first_block = student.num_leading_blocks
        self._shares_leading = original is None or _begin_alike(student, original)

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002
        """Stay in evaluation mode: dropout in a teacher would be noise in the target."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, leading_tokens: Tensor | None = None) -> TeacherOutput | None:
        """What the unpruned model says of the same images.

        Args:
            images: (B, C, H, W).
            leading_tokens: tokens that reach the student's first selector, where the student's leading part is as it
                was. They are of no use to a teacher whose leading part is another one.
        """
        if leading_tokens is None or not self._shares_leading:
            logits, patch_tokens = dense_tokens(self.backbone, images)
        else:
            logits, patch_tokens = trailing_dense_tokens(self.backbone, leading_tokens, self._first_block)
        return TeacherOutput(logits=logits, patch_tokens=patch_tokens)


class NoTeacher(nn.Module):
    """Takes the teacher's place where the weights of all distillation terms are 0."""

    def forward(self, images: Tensor, leading_tokens: Tensor | None = None) -> TeacherOutput | None:  # noqa: ARG002
        """Nothing."""
        return None


def make_teacher(student: PrunedModel, config: TrialConfig, *, needed: bool) -> nn.Module:
    """The backbone that the trial's `model` names, or a stand-in that costs nothing.

    That is the student's own, before it is trained, unless it starts from the weights of another trial: those serve
    pruned models, and are a worse teacher (decision 42).
    """
    if not needed:
        return NoTeacher()
    device = next(student.parameters()).device
    return Teacher(student, config.training, None if config.start is None else original_backbone(config).to(device))


def _begin_alike(student: PrunedModel, original: nn.Module) -> bool:
    """Whether the student's leading part is that of the original."""
    leading, others = {id(p) for p in student.leading_parameters()}, dict(original.named_parameters())
    own = ((name, p) for name, p in student.backbone.named_parameters() if id(p) in leading)
    return all(torch.equal(parameter, others[name]) for name, parameter in own)


def _never_trained(student: PrunedModel, config: TrainingConfig) -> list[object]:
    """What a deep copy need not copy."""
    if config.backbone_lr_scale == 0:
        return [student.backbone]
    if is_leading_fixed(student, config):
        return [*leading_modules(student), *student.leading_parameters()]
    return []
