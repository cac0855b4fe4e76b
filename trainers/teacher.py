"""The unpruned model that a trial learns from, or nothing where no loss needs it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spvit.model import dense_tokens, trailing_dense_tokens
from spvit.pruned_model import PrunedModel
from trainers.config import TrainingConfig
from trainers.frozen_part import leading_modules
from trainers.optim import is_leading_fixed


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherOutput:
    """Logits (B, classes) and patch tokens (B, N0, C) after the final norm."""

    logits: Tensor
    patch_tokens: Tensor


class Teacher(nn.Module):
    """The backbone as it was before training; always in evaluation mode.

    Args:
        student: the model to be trained.
        config: how. What is never trained is shared with the student; only the rest is copied.
    """

    def __init__(self, student: PrunedModel, config: TrainingConfig) -> None:
        super().__init__()
        shared = {id(part): part for part in _never_trained(student, config)}
        self.backbone = copy.deepcopy(student.backbone, shared).eval()
        own = (p for p in self.backbone.parameters() if id(p) not in {id(s) for s in student.parameters()})
        for parameter in own:
            parameter.requires_grad_(False)
        self._first_block = student.num_leading_blocks

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002
        """Stay in evaluation mode: dropout in a teacher would be noise in the target."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, leading_tokens: Tensor | None = None) -> TeacherOutput | None:
        """What the unpruned model says of the same images.

        Args:
            images: (B, C, H, W).
            leading_tokens: tokens that reach the student's first selector, where the student's leading part is still
                the teacher's.
        """
        if leading_tokens is None:
            logits, patch_tokens = dense_tokens(self.backbone, images)
        else:
            logits, patch_tokens = trailing_dense_tokens(self.backbone, leading_tokens, self._first_block)
        return TeacherOutput(logits=logits, patch_tokens=patch_tokens)


class NoTeacher(nn.Module):
    """Takes the teacher's place where the weights of all distillation terms are 0."""

    def forward(self, images: Tensor, leading_tokens: Tensor | None = None) -> TeacherOutput | None:  # noqa: ARG002
        """Nothing."""
        return None


def make_teacher(student: PrunedModel, config: TrainingConfig, *, needed: bool) -> nn.Module:
    """The backbone as it is now, or a stand-in that costs nothing."""
    return Teacher(student, config) if needed else NoTeacher()


def _never_trained(student: PrunedModel, config: TrainingConfig) -> list[object]:
    """What a deep copy need not copy."""
    if config.backbone_lr_scale == 0:
        return [student.backbone]
    if is_leading_fixed(student, config):
        return [*leading_modules(student), *student.leading_parameters()]
    return []
