"""The unpruned model that a trial learns from, or nothing where no loss needs it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spvit.model import dense_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherOutput:
    """Logits (B, classes) and patch tokens (B, N0, C) after the final norm."""

    logits: Tensor
    patch_tokens: Tensor


class Teacher(nn.Module):
    """A frozen copy of the backbone as it was before training; always in evaluation mode."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002
        """Stay in evaluation mode: dropout in a teacher would be noise in the target."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> TeacherOutput | None:
        """What the unpruned model says of the same images."""
        logits, patch_tokens = dense_tokens(self.backbone, images)
        return TeacherOutput(logits=logits, patch_tokens=patch_tokens)


class NoTeacher(nn.Module):
    """Takes the teacher's place where the weights of all distillation terms are 0."""

    def forward(self, images: Tensor) -> TeacherOutput | None:  # noqa: ARG002
        """Nothing."""
        return None


def make_teacher(backbone: nn.Module, *, needed: bool) -> nn.Module:
    """A frozen copy of the backbone, or a stand-in that costs nothing."""
    return Teacher(backbone) if needed else NoTeacher()
