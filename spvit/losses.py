"""The terms of the loss that need nothing but tensors (SPViT, section 3.4; weights belong to the trainer)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from spvit.model import PrunedOutput


def keep_ratio_loss(
    fractions: Sequence[Tensor], targets: Sequence[float], *, per_image: bool = False, hinge: bool = False
) -> Tensor:
    """Squared distance between the shares of tokens kept and their targets, averaged over the selectors.

    Args:
        fractions: for each selector (B,), the share of all patches that each image keeps.
        targets: for each selector the cumulative keep rate it should reach.
        per_image: bind every image (DynamicViT) rather than the mean of the batch (SPViT), which lets hard images keep
            more than easy ones.
        hinge: punish only what is kept beyond the target.

    Raises:
        ValueError: there are not as many targets as selectors.
    """
    if len(fractions) != len(targets):
        raise ValueError(f"Each selector needs one target, but got {len(fractions)} and {len(targets)}.")
    if not fractions:
        return torch.zeros(())
    kept = torch.stack(tuple(fractions)).float()
    excess = kept - torch.tensor(targets, dtype=kept.dtype, device=kept.device).unsqueeze(1)
    if not per_image:
        excess = excess.mean(1)
    return (excess.clamp_min(0) if hinge else excess).square().mean()


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of class distributions, mean over the batch, times temperature squared.

    Args:
        student_logits: (B, classes).
        teacher_logits: (B, classes); no gradient reaches them.
        temperature: softens both distributions; the square keeps gradients of the same size.
    """
    student = (student_logits.float() / temperature).log_softmax(-1)
    teacher = (teacher_logits.detach().float() / temperature).log_softmax(-1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def token_distillation_loss(output: PrunedOutput, teacher_tokens: Tensor) -> Tensor:
    """Mean squared error between the patches that stayed to the end and the teacher's; 0 if none did.

    Args:
        output: of a pruned model, in either form.
        teacher_tokens: (B, N0, C), normed patch tokens of the dense model on the same images.

    Raises:
        ValueError: the output was made without patch tokens.
    """
    if output.patch_tokens is None:
        raise ValueError("The distillation of tokens needs an output with patch tokens: run(..., with_patches=True).")
    width = teacher_tokens.shape[-1]
    wanted = teacher_tokens.detach().gather(1, output.patch_index.unsqueeze(-1).expand(-1, -1, width))
    # The policy only chooses tokens: a gradient through it would reward dropping those that are hard to match.
    stayed = (output.patch_policy.detach() > 0.5).float()
    errors = (output.patch_tokens.float() - wanted.float()).square().mean(-1)
    return (errors * stayed).sum() / stayed.sum().clamp_min(1.0)


def attention_ranking_loss(margin: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy between a target distribution over tokens and the selector's, mean over the batch.

    Warms a selector up on the class attention of the teacher, so that the first tokens it drops are not random ones.

    Args:
        margin: (B, M), keep minus drop logits.
        target: (B, M), not negative; each row is scaled to sum to 1.
    """
    target = target.detach().float()
    target = target / target.sum(1, keepdim=True).clamp_min(torch.finfo(target.dtype).tiny)
    return -(target * margin.float().log_softmax(1)).sum(1).mean()
