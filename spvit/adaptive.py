"""The adaptive form: every image keeps the tokens above calibrated thresholds, so that plain images cost less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spvit.last_block import prefix_after
from spvit.model import PrunedViT
from spvit.options import Serving
from spvit.selector import Scores
from spvit.survivors import Survivors, all_present, drop, keep_above, regroup
from spvit.thresholds import Thresholds


@dataclass(frozen=True, kw_only=True)
class AdaptiveOutput:
    """Logits (B, classes), and the patches (B, selectors) that each image kept at each selector."""

    logits: Tensor
    num_kept: Tensor


class AdaptiveViT(nn.Module):
    """A pruned model whose images keep as many tokens as their content needs (SPViT, section 3.3, at inference).

    At each selector an image keeps the patches whose margin reaches the threshold, at least one. What an image keeps,
    and its logits, do not depend on the images beside it, nor on how they are served. Deterministic. For inference:
    decisions pass no gradient.

    Args:
        model: runs with its own weights; nothing is copied.
        thresholds: one for each selection of the model's plan.
        serving: how images that keep different numbers go through the network together.
        bucket: images whose counts are equal after rounding up to a multiple of this share a bucket.

    Raises:
        ValueError: not one threshold for each selection, or a bucket below 1.
    """

    def __init__(
        self, model: PrunedViT, thresholds: Thresholds, *, serving: Serving = Serving.PADDED, bucket: int = 8
    ) -> None:
        super().__init__()
        num_selections = len(model.plan.selections)
        if len(thresholds.values) != num_selections:
            raise ValueError(f"{num_selections} selections need as many thresholds, but got {thresholds.values}.")
        if bucket < 1:
            raise ValueError(f"A bucket must span 1 count or more, but got {bucket}.")
        self.model, self.thresholds = model, thresholds
        self.serving, self.bucket = serving, bucket
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        return self.run(images).logits

    def run(self, images: Tensor) -> AdaptiveOutput:
        """Logits of images (B, C, H, W), and how many tokens they kept."""
        groups = [_start(self.model, images)]
        for stage, threshold in enumerate(self.thresholds.values):
            left = [_select(self.model, group, stage, threshold) for group in groups]
            groups = [_run_blocks(self.model, group, stage) for group in self._regroup(left)]
        order = torch.cat([group.rows for group in groups]).argsort()
        return AdaptiveOutput(
            logits=torch.cat([_classify(self.model, group) for group in groups])[order],
            num_kept=torch.cat([group.num_kept for group in groups])[order],
        )

    def _regroup(self, groups: list[Survivors]) -> list[Survivors]:
        num_prefix = self.model.layout.num_prefix
        if self.serving is Serving.BUCKETED:
            groups = regroup(groups, self.bucket, num_prefix)
        return [group.without_empty_packages(num_prefix) for group in groups]


def stage_margins(model: PrunedViT, images: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Margins at the selector behind those that have thresholds: what its own threshold is calibrated on.

    Args:
        model: in evaluation mode.
        images: (B, C, H, W).
        thresholds: of the selectors before.

    Returns:
        (B, W) for the patches that reach the selector; minus infinity where an image has fewer than another.
    """
    reached = _start(model, images)
    for stage, threshold in enumerate(thresholds):
        reached = _run_blocks(model, _select(model, reached, stage, threshold), stage)
    return _score(model, reached, len(thresholds)).margin.masked_fill(~reached.present, -torch.inf)


def _start(model: PrunedViT, images: Tensor) -> Survivors:
    return all_present(model.leading_tokens(images), model.layout)


def _select(model: PrunedViT, images: Survivors, stage: int, threshold: float) -> Survivors:
    scores = _score(model, images, stage)
    return drop(images, scores, keep_above(scores.margin, images.present, threshold), model.layout)


def _score(model: PrunedViT, images: Survivors, stage: int) -> Scores:
    number, num_patches = model.plan.selections[stage].block, images.present.shape[1]
    scores = model.selector(number).score(
        images.tokens, num_prefix=model.layout.num_prefix, block=model.backbone.blocks[number], policy=images.policy
    )
    return Scores(scores.margin[:, :num_patches], scores.keep_probability[:, :num_patches])


def _run_blocks(model: PrunedViT, images: Survivors, stage: int) -> Survivors:
    """Through the blocks from this selector to the next."""
    starts = [selection.block for selection in model.plan.selections] + [len(model.backbone.blocks)]
    x, mask = images.tokens, images.mask(model.layout.num_prefix)
    for number in range(starts[stage], starts[stage + 1]):
        block = model.backbone.blocks[number]
        if number == model.block_to_shorten and not model.training:
            x = prefix_after(block, x, model.layout.num_prefix, mask)
        else:
            x = block(x, attn_mask=mask)
    return images._replace(tokens=x)


def _classify(model: PrunedViT, images: Survivors) -> Tensor:
    present = images.present.to(images.mass.dtype)
    return model._classify(model.backbone.norm(images.tokens), mass=images.mass, keep=present)
