"""A timm PiT (pooling-based vision transformer) that drops tokens within its levels.

Dropped patches skip the rest of their level. Its pooling is a convolution over the whole grid, so there they are back
in their places with the value that they had when they were dropped; package tokens, made of the same patches, end with
the level. The next level starts with all of its patches, and keep rates count those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import Tensor, nn

from spvit.attention import lookahead_attentions
from spvit.level_runs import GatheredLevel, MaskedLevel, run_level_gathered, run_level_masked
from spvit.model import dense_tokens, trailing_dense_tokens
from spvit.options import HeadWeighting, SelectorKind
from spvit.pit_attention import pit_lookahead_attentions
from spvit.pit_levels import leading_modules, pit_blocks, pit_embed, pit_geometry, pool, run_dense
from spvit.pruned_model import PrunedModel, PrunedOutput
from spvit.schedule import PackageMode, PruningSchedule
from spvit.selection import Layout, Sampling
from spvit.selector_kinds import make_selector

End = TypeVar("End", GatheredLevel, MaskedLevel)


class PrunedPiT(PrunedModel):
    """A timm PiT with token selectors where the schedule drops tokens.

    Args:
        backbone: a PiT of `create_backbone`; used as it is, not copied.
        schedule: where tokens are pruned and how many stay. Blocks are numbered through the network; a keep rate is a
            fraction of the patches of its block's level. Stages that drop nothing get no selector.
        selector: how tokens are scored.
        head_weighting: how a multi-head selector averages its heads.
        package: what becomes of dropped tokens until their level ends.

    Raises:
        ValueError: a stage lies behind the backbone's last block.
    """

    def __init__(
        self,
        backbone: PoolingVisionTransformer,
        schedule: PruningSchedule,
        *,
        selector: SelectorKind = SelectorKind.MULTI_HEAD,
        head_weighting: HeadWeighting = HeadWeighting.SENET,
        package: PackageMode = PackageMode.PER_SELECTOR,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.geometry = pit_geometry(backbone)
        self.package = package
        self._num_prefix = self.geometry.num_prefix_tokens
        self._layouts = [
            Layout(num_prefix=self._num_prefix, num_patches=level.num_patches, package_mode=package)
            for level in self.geometry.levels
        ]
        self._set_schedule(schedule, schedule.plan(self.geometry, package))
        blocks = pit_blocks(backbone)
        self.selectors = nn.ModuleDict(
            {str(block): make_selector(selector, blocks[block], weighting=head_weighting) for block in self._selections}
        )

    def forward(self, images: Tensor) -> Tensor:
        """See `PrunedModel.forward`."""
        last = self._run(self.leading_tokens(images), run_level_gathered, None)[-1]
        return self._classify(self.backbone.norm(last.tokens[:, : self._num_prefix]))

    @property
    def num_leading_blocks(self) -> int:
        """See `PrunedModel.num_leading_blocks`."""
        return min(map(int, self.selectors), default=self.geometry.depth)

    def leading_tokens(self, images: Tensor) -> Tensor:
        """See `PrunedModel.leading_tokens`. Where the first selector is a level's first, they are already pooled."""
        return run_dense(self.backbone, pit_embed(self.backbone, images), 0, self.num_leading_blocks)

    def leading_parameters(self) -> list[nn.Parameter]:
        """See `PrunedModel.leading_parameters`."""
        modules = leading_modules(self.backbone, self.num_leading_blocks)
        own = [self.backbone.cls_token, self.backbone.pos_embed]
        return own + list(chain.from_iterable(module.parameters() for module in modules))

    def _run(self, x: Tensor, run_level: Callable[..., End], sampling: Sampling | None) -> list[End]:
        """The ends of the levels from the first selector's on, from the tokens that reach it."""
        (level, blocks), *later = self._trailing_levels()
        selectors = {block: (self.selector(block), selection) for block, selection in self._selections.items()}
        ends = [run_level(x, blocks, selectors, self._layouts[level], sampling)]
        for level, blocks in later:
            x = pool(self.backbone, level - 1, ends[-1].whole(self._layouts[level - 1]))
            ends.append(run_level(x, blocks, selectors, self._layouts[level], sampling))
        return ends

    def _trailing_levels(self) -> Iterator[tuple[int, list[tuple[int, nn.Module]]]]:
        """Levels from the first selector's on, each with those of its numbered blocks that the selectors can reach."""
        numbered = list(enumerate(pit_blocks(self.backbone)))
        first = self.num_leading_blocks
        for level in range(self.geometry.level_of(first), len(self._layouts)):
            start = self.geometry.level_starts[level]
            yield level, numbered[max(first, start) : start + self.geometry.levels[level].num_blocks]

    def _classify(self, normed: Tensor) -> Tensor:
        logits: Tensor = self.backbone.forward_head(normed)
        return logits

    def _run_gathered(self, x: Tensor, sampling: Sampling | None, *, with_patches: bool) -> PrunedOutput:
        """See `PrunedModel.run`. Patch tokens, index and policy of the output are those of the last level."""
        del with_patches  # a level's last block runs in full
        ends: list[GatheredLevel] = self._run(x, run_level_gathered, sampling)
        last, layout = ends[-1], self._layouts[-1]
        normed = self.backbone.norm(last.tokens)
        patches = last._replace(tokens=normed).patches(layout)
        index = _all_patches(patches) if last.places is None else last.places.position
        return PrunedOutput(
            logits=self._classify(normed),
            patch_tokens=patches,
            patch_index=index,
            patch_policy=torch.ones_like(index, dtype=torch.float32),
            selections=tuple(map(self._describe_gathered, self.plan.selections, _steps(ends))),
        )

    def _run_masked(self, x: Tensor, sampling: Sampling | None) -> PrunedOutput:
        ends: list[MaskedLevel] = self._run(x, run_level_masked, sampling)
        last, layout = ends[-1], self._layouts[-1]
        normed = self.backbone.norm(last.tokens)
        patches = last._replace(tokens=normed).patches(layout)
        return PrunedOutput(
            logits=self._classify(normed),
            patch_tokens=patches,
            patch_index=_all_patches(patches),
            patch_policy=last.keep,
            selections=tuple(map(self._describe_masked, self.plan.selections, _steps(ends))),
        )


def pit_dense_tokens(backbone: PoolingVisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and normed patch tokens (B, N0, C) of the dense model's last level: what a teacher gives."""
    return pit_trailing_dense_tokens(backbone, pit_embed(backbone, images), 0)


def pit_trailing_dense_tokens(
    backbone: PoolingVisionTransformer, leading_tokens: Tensor, first_block: int
) -> tuple[Tensor, Tensor]:
    """The same from tokens (B, N, C) that reach block `first_block` (`PrunedPiT.leading_tokens`)."""
    normed = backbone.norm(run_dense(backbone, leading_tokens, first_block, pit_geometry(backbone).depth))
    return backbone.forward_head(normed), normed[:, backbone.num_tokens :]


dense_tokens.register(PoolingVisionTransformer, pit_dense_tokens)
trailing_dense_tokens.register(PoolingVisionTransformer, pit_trailing_dense_tokens)
lookahead_attentions.register(PoolingVisionTransformer, pit_lookahead_attentions)


def _steps(ends: Sequence[GatheredLevel] | Sequence[MaskedLevel]) -> list[Any]:
    return [step for end in ends for step in end.steps]


def _all_patches(patches: Tensor) -> Tensor:
    batch, num_patches, _ = patches.shape
    return torch.arange(num_patches, device=patches.device).expand(batch, -1)
