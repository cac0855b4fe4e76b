"""What the class token of a dense PiT will look at: the start that its selectors learn from."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import Tensor
from torch.nn import functional

from spvit.attention import Lookahead, class_attention
from spvit.pit_levels import Grid, pit_blocks, pit_embed, pit_geometry, pit_grids, run_dense


@torch.no_grad()
def pit_lookahead_attentions(
    backbone: PoolingVisionTransformer, images: Tensor, blocks: Collection[int]
) -> dict[int, Lookahead]:
    """For each block: the dense model's patch tokens before it, and the class token's attention from there on.

    Importance is the mean over the block and all behind it, and sums to 1 over the patches of the block's level.
    Attention in later levels, on coarser grids, is spread over the patches that were pooled.
    """
    if not blocks:
        return {}
    geometry, grids = pit_geometry(backbone), pit_grids(backbone)
    tokens, maps = _walk(backbone, images, blocks)
    return {
        number: Lookahead(
            tokens=tokens[number],
            importance=mean_map(maps[number:], grids[geometry.level_of(number)]),
        )
        for number in sorted(blocks)
    }


def _walk(
    backbone: PoolingVisionTransformer, images: Tensor, blocks: Collection[int]
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Patch tokens before each block asked for, and every block's class attention as maps (B, 1, H, W) of sum 1."""
    geometry, grids = pit_geometry(backbone), pit_grids(backbone)
    tokens: dict[int, Tensor] = {}
    maps: list[Tensor] = []
    x = pit_embed(backbone, images)
    for number, block in enumerate(pit_blocks(backbone)):
        if number in blocks:
            tokens[number] = x[:, backbone.num_tokens :]
        spread = class_attention(block, x)[:, backbone.num_tokens :]
        shares = spread / spread.sum(1, keepdim=True)
        maps.append(shares.view(len(x), 1, *grids[geometry.level_of(number)]))
        x = run_dense(backbone, x, number, number + 1)
    return tokens, maps


def mean_map(maps: Sequence[Tensor], grid: Grid) -> Tensor:
    """The mean of maps, each resampled to a grid: (B, N0), summing to 1."""
    sampled = [functional.interpolate(each, size=grid, mode="bilinear").flatten(1) for each in maps]
    shares = [each / each.sum(1, keepdim=True) for each in sampled]
    return torch.stack(shares).mean(0)
