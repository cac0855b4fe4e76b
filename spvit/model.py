"""A timm vision transformer that drops tokens on the way. timm's own blocks, embedding and head do all the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from spvit.attention import bool_policy_mask, embed, log_policy_mask
from spvit.factory import geometry_of
from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.packaging import Packages, no_packages
from spvit.schedule import PackageMode, PruningSchedule, Selection
from spvit.selection import Gathered, Layout, Masked, Sampling, select_gathered, select_masked
from spvit.selector import TokenSelector
from spvit.selector_kinds import make_selector

TRAILING = ("blocks.", "norm.", "fc_norm.", "head.", "head_dist.", "attn_pool.")


@dataclass(frozen=True, kw_only=True)
class SelectionOutput:
    """One selector's decisions for a batch.

    Attributes:
        block: the block that the selector stands before.
        target_keep_rate: kept patches over all patches, as the schedule wants it in whole tokens.
        keep_fraction: (B,), the share of all patches that stays, with a gradient: decisions themselves in the masked
            form, expected decisions of the candidates in the gathered one.
        margin: keep minus drop logits of the candidates: (B, N0) masked, (B, M) gathered.
        num_kept: (B,), patches that stayed.
    """

    block: int
    target_keep_rate: float
    keep_fraction: Tensor
    margin: Tensor
    num_kept: Tensor


@dataclass(frozen=True, kw_only=True)
class PrunedOutput:
    """What a pruned model gives for B images in training and evaluation.

    Attributes:
        logits: (B, classes).
        patch_tokens: (B, M, C) after the final norm: the survivors if gathered, all patches if masked.
        patch_index: (B, M), each token's number among the image's patches.
        patch_policy: (B, M), 1 for patches that stayed to the end (all, if gathered).
        selections: one for each selector, in the order of their blocks.
    """

    logits: Tensor
    patch_tokens: Tensor
    patch_index: Tensor
    patch_policy: Tensor
    selections: tuple[SelectionOutput, ...]


class PrunedViT(nn.Module):
    """A timm vision transformer with token selectors where the schedule drops tokens.

    Args:
        backbone: a model of `create_backbone`; used as it is, not copied.
        schedule: where tokens are pruned and how many stay. Stages that drop nothing get no selector.
        selector: how tokens are scored.
        head_weighting: how a multi-head selector averages its heads.
        package: what becomes of dropped tokens.

    Raises:
        ValueError: a stage lies behind the backbone's last block.
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
        geometry = geometry_of(backbone)
        self.backbone = backbone
        self.schedule = schedule
        self.plan = schedule.plan(geometry, package)
        self.layout = Layout(
            num_prefix=geometry.num_prefix_tokens, num_patches=geometry.num_patches, package_mode=package
        )
        self._selections = {selection.block: selection for selection in self.plan.selections}
        self.selectors = nn.ModuleDict(
            {
                str(block): make_selector(selector, backbone, block, weighting=head_weighting)
                for block in self._selections
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W): gathered, deterministic, with static token counts."""
        x, _ = self._run_gathered(self.leading_tokens(images), None)
        return self._classify(self.backbone.norm(x[:, : self.layout.num_prefix]))

    def run(
        self,
        images: Tensor,
        *,
        form: TokenForm = TokenForm.GATHERED,
        sample: bool = False,
        temperature: float = 1.0,
        noise_scale: float = 1.0,
        leading_tokens: Tensor | None = None,
    ) -> PrunedOutput:
        """Run the model and tell what its selectors did.

        Args:
            images: (B, 3, H, W).
            form: whether dropped tokens are removed or masked.
            sample: draw decisions with noise and pass gradients through them (training); otherwise the tokens with the
                largest margins stay, and both forms give the same logits.
            temperature: of the gradient of sampled decisions.
            noise_scale: 0 for sampled decisions without noise.
            leading_tokens: what `leading_tokens(images)` gave, where the caller has it already.
        """
        sampling = Sampling(temperature=temperature, noise_scale=noise_scale) if sample else None
        x = self.leading_tokens(images) if leading_tokens is None else leading_tokens
        if form is TokenForm.MASKED:
            x, steps = self._run_masked(x, sampling)
            return self._masked_output(self.backbone.norm(x), steps)
        x, gathered = self._run_gathered(x, sampling)
        return self._gathered_output(self.backbone.norm(x), gathered)

    @property
    def num_leading_blocks(self) -> int:
        """Blocks before the first selector: they see all tokens."""
        return min(self._selections, default=len(self.backbone.blocks))

    def leading_tokens(self, images: Tensor) -> Tensor:
        """Tokens (B, N, C) that reach the first selector, or the end where there is none."""
        x = embed(self.backbone, images)
        for block in self.backbone.blocks[: self.num_leading_blocks]:
            x = block(x)
        return x

    def selector(self, block: int) -> TokenSelector:
        """The selector before a block."""
        return cast("TokenSelector", self.selectors[str(block)])

    @property
    def has_learned_selectors(self) -> bool:
        """Whether there is any selector to be taught."""
        return any(self.selector(block).is_learned for block in self._selections)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of the timm model."""
        return list(self.backbone.parameters())

    def selector_parameters(self) -> list[nn.Parameter]:
        """Parameters of the selectors."""
        return list(self.selectors.parameters())

    def leading_parameters(self) -> list[nn.Parameter]:
        """The backbone's parameters before the first selector: the embedding and the blocks that see all tokens."""
        first = self.num_leading_blocks
        stem = [p for name, p in self.backbone.named_parameters() if not name.startswith(TRAILING)]
        return stem + list(chain.from_iterable(block.parameters() for block in self.backbone.blocks[:first]))

    def _run_gathered(self, x: Tensor, sampling: Sampling | None) -> tuple[Tensor, list[Gathered]]:
        mass, steps = no_packages(x).mass, []
        for number, block in self._trailing_blocks():
            if number in self._selections:
                step = select_gathered(
                    x,
                    mass,
                    selector=self.selector(number),
                    block=block,
                    selection=self._selections[number],
                    layout=self.layout,
                    sampling=sampling,
                )
                x, mass = step.tokens, step.mass
                steps.append(step)
            x = block(x)
        return x, steps

    def _run_masked(self, x: Tensor, sampling: Sampling | None) -> tuple[Tensor, list[Masked]]:
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
                mask = self._mask(step, sampling)
            x = block(x, attn_mask=mask)
        return x, steps

    def _trailing_blocks(self) -> Iterator[tuple[int, nn.Module]]:
        first = self.num_leading_blocks
        return enumerate(self.backbone.blocks[first:], start=first)

    def _mask(self, step: Masked, sampling: Sampling | None) -> Tensor:
        prefix = step.keep.new_ones(len(step.keep), self.layout.num_prefix)
        policy = torch.cat((prefix, step.keep, Packages(step.tokens, step.mass).policy), dim=1)
        return bool_policy_mask(policy) if sampling is None else log_policy_mask(policy).to(step.tokens.dtype)

    def _classify(self, normed: Tensor) -> Tensor:
        logits: Tensor = self.backbone.forward_head(normed)
        return logits

    def _gathered_output(self, normed: Tensor, steps: list[Gathered]) -> PrunedOutput:
        index = torch.arange(self.layout.num_patches, device=normed.device).expand(len(normed), -1)
        for step in steps:
            index = index.gather(1, step.kept)
        start = self.layout.num_prefix
        return PrunedOutput(
            logits=self._classify(normed),
            patch_tokens=normed[:, start : start + index.shape[1]],
            patch_index=index,
            patch_policy=torch.ones_like(index, dtype=torch.float32),
            selections=tuple(map(self._describe_gathered, self.plan.selections, steps)),
        )

    def _masked_output(self, normed: Tensor, steps: list[Masked]) -> PrunedOutput:
        index = torch.arange(self.layout.num_patches, device=normed.device).expand(len(normed), -1)
        start = self.layout.num_prefix
        return PrunedOutput(
            logits=self._classify(normed),
            patch_tokens=normed[:, start : start + index.shape[1]],
            patch_index=index,
            patch_policy=steps[-1].keep if steps else torch.ones_like(index, dtype=torch.float32),
            selections=tuple(map(self._describe_masked, self.plan.selections, steps)),
        )

    def _describe_gathered(self, selection: Selection, step: Gathered) -> SelectionOutput:
        counts = torch.full((len(step.kept),), step.kept.shape[1], device=step.kept.device)
        if self.selector(selection.block).is_learned:
            expected = torch.sigmoid(step.margin).sum(1) / self.layout.num_patches
        else:
            expected = counts / self.layout.num_patches
        return self._describe(selection, expected, step.margin, counts)

    def _describe_masked(self, selection: Selection, step: Masked) -> SelectionOutput:
        return self._describe(selection, step.keep.mean(1), step.margin, (step.keep > 0.5).sum(1))

    def _describe(
        self, selection: Selection, keep_fraction: Tensor, margin: Tensor, num_kept: Tensor
    ) -> SelectionOutput:
        return SelectionOutput(
            block=selection.block,
            target_keep_rate=selection.num_kept / self.layout.num_patches,
            keep_fraction=keep_fraction,
            margin=margin,
            num_kept=num_kept,
        )


def dense_tokens(backbone: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and normed patch tokens (B, N0, C) of the dense model: what a teacher gives."""
    features = backbone.forward_features(images)
    return backbone.forward_head(features), features[:, backbone.num_prefix_tokens :]
