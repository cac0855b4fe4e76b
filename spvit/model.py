"""A timm vision transformer that drops tokens on the way. timm's own blocks, embedding and head do all the work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from itertools import chain, islice

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from spvit.attention import embed
from spvit.factory import geometry_of
from spvit.frozen_norms import hold_frozen_norms
from spvit.last_block import can_skip_patches, prefix_after
from spvit.options import HeadWeighting, SelectorKind
from spvit.packaging import no_packages
from spvit.pooling import Left, logits_of, reads_patches
from spvit.pruned_model import PrunedModel, PrunedOutput, SelectionOutput
from spvit.schedule import PackageMode, PruningSchedule, Selection
from spvit.selection import Gathered, Layout, Masked, Sampling, attention_mask, select_gathered, select_masked
from spvit.selector import Scores
from spvit.selector_kinds import check_selector, make_selector

__all__ = ["PrunedOutput", "PrunedViT", "SelectionOutput", "dense_tokens", "trailing_dense_tokens"]

TRAILING = ("blocks.", "norm.", "fc_norm.", "head.", "head_dist.", "aux_head.", "attn_pool.")


class PrunedViT(PrunedModel):
    """A timm vision transformer with token selectors where the schedule drops tokens.

    Args:
        backbone: a model of `create_backbone`; used as it is, not copied.
        schedule: where tokens are pruned and how many stay. Stages that drop nothing get no selector.
        selector: how tokens are scored.
        head_weighting: how a multi-head selector averages its heads.
        package: what becomes of dropped tokens.

    Raises:
        ValueError: a stage lies behind the backbone's last block.
        UnsupportedModelError: the selector needs a class token that the backbone does not have.
    """

    def __init__(
        self,
        backbone: VisionTransformer,
        schedule: PruningSchedule,
        *,
        selector: SelectorKind = SelectorKind.MULTI_HEAD,
        head_weighting: HeadWeighting = HeadWeighting.SENET,
        package: PackageMode = PackageMode.PER_SELECTOR,
    ) -> None:
        super().__init__()
        check_selector(selector, backbone)
        geometry = geometry_of(backbone)
        self.backbone = backbone
        self.geometry = geometry
        self.package = package
        self.layout = Layout(
            num_prefix=geometry.num_prefix_tokens, num_patches=geometry.num_patches, package_mode=package
        )
        self._set_schedule(schedule, schedule.plan(geometry, package))
        self.selectors = nn.ModuleDict(
            {
                str(block): make_selector(selector, backbone.blocks[block], weighting=head_weighting)
                for block in self._selections
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W): gathered, deterministic, with static token counts."""
        x, steps = self._gathered_blocks(self.leading_tokens(images), None, prefix_only=True, in_order=False)
        return self.logits_of(x, steps[-1].mass if steps else None)

    def logits_of(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """Logits (B, classes) of tokens (B, N, C) after the last block, among them packages of these masses (B, S)."""
        if not reads_patches(self.backbone):
            x = x[:, : self.layout.num_prefix]
        return self._classify(self.backbone.norm(x), mass=mass)

    def train(self, mode: bool = True) -> PrunedViT:
        """Training mode, but for batch norms that do not learn."""
        super().train(mode)
        hold_frozen_norms(self.backbone)
        return self

    @property
    def num_leading_blocks(self) -> int:
        """Blocks before the first selector: they see all tokens."""
        return min(map(int, self.selectors), default=len(self.backbone.blocks))

    def leading_tokens(self, images: Tensor) -> Tensor:
        """Tokens (B, N, C) that reach the first selector, or the end where there is none."""
        x = embed(self.backbone, images)
        for block in islice(self.backbone.blocks, self.num_leading_blocks):
            x = block(x)
        return x

    def leading_parameters(self) -> list[nn.Parameter]:
        """The backbone's parameters before the first selector: the embedding and the blocks that see all tokens."""
        first = self.num_leading_blocks
        stem = [p for name, p in self.backbone.named_parameters() if not name.startswith(TRAILING)]
        return stem + list(chain.from_iterable(block.parameters() for block in self.backbone.blocks[:first]))

    def _gathered_blocks(
        self, x: Tensor, sampling: Sampling | None, *, prefix_only: bool, in_order: bool = True
    ) -> tuple[Tensor, list[Gathered]]:
        """Tokens after the last block: only the prefix of them if nothing else is asked for, or read by the head."""
        mass, steps = no_packages(x).mass, []
        to_shorten = self.block_to_shorten if prefix_only else None
        for number, block in self._trailing_blocks():
            if number in self._selections:
                step = self.select(x, mass, self._selections[number], sampling=sampling, in_order=in_order)
                x, mass = step.tokens, step.mass
                steps.append(step)
            x = prefix_after(block, x, self.layout.num_prefix) if number == to_shorten else block(x)
        return x, steps

    def select(
        self,
        x: Tensor,
        mass: Tensor,
        selection: Selection,
        *,
        sampling: Sampling | None = None,
        in_order: bool = True,
        scores: Scores | None = None,
    ) -> Gathered:
        """One selector's work on the tokens (B, N, C) that reach it: see `select_gathered`."""
        return select_gathered(
            x,
            mass,
            selector=self.selector(selection.block),
            block=self.backbone.blocks[selection.block],
            selection=selection,
            layout=self.layout,
            sampling=sampling,
            in_order=in_order,
            scores=scores,
        )

    @property
    def block_to_shorten(self) -> int | None:
        """The last block where it need not compute patches. The unpruned model stays timm's own, to the bit."""
        return self.block_to_shorten_if_pruned if self._selections else None

    @property
    def block_to_shorten_if_pruned(self) -> int | None:
        """The same under any schedule that drops tokens."""
        if reads_patches(self.backbone) or not can_skip_patches(self.backbone.blocks[-1]):
            return None
        return len(self.backbone.blocks) - 1

    def _masked_blocks(self, x: Tensor, sampling: Sampling | None) -> tuple[Tensor, list[Masked]]:
        keep = x.new_ones(len(x), self.layout.num_patches, dtype=torch.float32)
        mass, mask, steps = no_packages(x).mass, None, []
        for number, block in self._trailing_blocks():
            if number in self._selections:
                step = select_masked(
                    x,
                    mass,
                    keep,
                    selector=self.selector(number),
                    block=block,
                    selection=self._selections[number],
                    layout=self.layout,
                    sampling=sampling,
                )
                x, mass, keep = step.tokens, step.mass, step.keep
                steps.append(step)
                mask = attention_mask(step, num_prefix=self.layout.num_prefix, sampling=sampling)
            x = block(x, attn_mask=mask)
        return x, steps

    def _trailing_blocks(self) -> Iterator[tuple[int, nn.Module]]:
        # A slice of the blocks would be a new module, built in every forward pass: 1 % of a DeiT-T.
        first = self.num_leading_blocks
        return enumerate(islice(self.backbone.blocks, first, None), start=first)

    def _classify(
        self, normed: Tensor, *, mass: Tensor | None = None, keep: Tensor | None = None, is_sampled: bool = False
    ) -> Tensor:
        """Logits of normed tokens, among them packages of these masses (B, S) and patches to keep (B, M)."""
        left = Left(normed, no_packages(normed).mass if mass is None else mass, keep)
        return logits_of(self.backbone, left, is_sampled=is_sampled)

    def _run_gathered(self, x: Tensor, sampling: Sampling | None, *, with_patches: bool) -> PrunedOutput:
        is_short = not with_patches and self.block_to_shorten is not None
        x, steps = self._gathered_blocks(x, sampling, prefix_only=is_short)
        normed, start = self.backbone.norm(x), self.layout.num_prefix
        index = torch.arange(self.layout.num_patches, device=normed.device).expand(len(normed), -1)
        for step in steps:
            index = index.gather(1, step.kept)
        return PrunedOutput(
            logits=self._classify(normed, mass=steps[-1].mass if steps else None),
            patch_tokens=None if is_short else normed[:, start : start + index.shape[1]],
            patch_index=index,
            patch_policy=torch.ones_like(index, dtype=torch.float32),
            selections=tuple(map(self._describe_gathered, self.plan.selections, steps)),
        )

    def _run_masked(self, x: Tensor, sampling: Sampling | None) -> PrunedOutput:
        x, steps = self._masked_blocks(x, sampling)
        normed = self.backbone.norm(x)
        mass, keep = (steps[-1].mass, steps[-1].keep) if steps else (None, None)
        index = torch.arange(self.layout.num_patches, device=normed.device).expand(len(normed), -1)
        start = self.layout.num_prefix
        return PrunedOutput(
            logits=self._classify(normed, mass=mass, keep=keep, is_sampled=sampling is not None),
            patch_tokens=normed[:, start : start + index.shape[1]],
            patch_index=index,
            patch_policy=torch.ones_like(index, dtype=torch.float32) if keep is None else keep,
            selections=tuple(map(self._describe_masked, self.plan.selections, steps)),
        )


@singledispatch
def dense_tokens(backbone: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and normed patch tokens (B, N0, C) of the dense model: what a teacher gives."""
    features = backbone.forward_features(images)
    return backbone.forward_head(features), features[:, backbone.num_prefix_tokens :]


@singledispatch
def trailing_dense_tokens(
    backbone: VisionTransformer, leading_tokens: Tensor, first_block: int
) -> tuple[Tensor, Tensor]:
    """The same from tokens (B, N, C) that reach block `first_block` (`PrunedModel.leading_tokens`)."""
    x = leading_tokens
    for block in backbone.blocks[first_block:]:
        x = block(x)
    normed = backbone.norm(x)
    return backbone.forward_head(normed), normed[:, backbone.num_prefix_tokens :]
