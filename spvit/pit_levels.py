"""timm's PiT cut into calls: its blocks, numbered through the network, and the pooling that leads between its levels.

timm calls a level a stage; here a stage is a place in a schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models.pit import PoolingVisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from spvit.schedule import Level, TokenGeometry

Grid = tuple[int, int]


def pit_blocks(backbone: PoolingVisionTransformer) -> list[Any]:
    """The blocks of all levels, in order."""
    return [block for transformer in backbone.transformers for block in transformer.blocks]


def pit_grids(backbone: PoolingVisionTransformer) -> list[Grid]:
    """Height and width of each level's grid of patches."""
    grids: list[Grid] = [tuple(backbone.patch_embed.grid_size)]
    for transformer in backbone.transformers[1:]:
        grids.append(_pooled(grids[-1], transformer.pool.conv))
    return grids


def pit_geometry(backbone: PoolingVisionTransformer) -> TokenGeometry:
    """What decides the token counts of a PiT."""
    levels = [
        Level(num_blocks=len(transformer.blocks), num_patches=height * width)
        for transformer, (height, width) in zip(backbone.transformers, pit_grids(backbone), strict=True)
    ]
    return TokenGeometry.of_levels(levels, num_prefix_tokens=backbone.num_tokens)


def why_pit_unsupported(backbone: PoolingVisionTransformer) -> str:
    """Why a PiT's tokens cannot be pruned, to follow its name; empty where they can."""
    if backbone.global_pool != "token":
        return f"gives no logits with global_pool={backbone.global_pool!r} (model.args.global_pool = 'token')"
    if not backbone.num_classes:
        return "has no classifier (set model.args.num_classes to your number of classes)"
    return ""


def pit_weights(weights: Mapping[str, Tensor], backbone: PoolingVisionTransformer) -> dict[str, Tensor]:
    """Weights of a checkpoint in timm's names; those of PiT's authors hold their poolings apart."""
    return dict(checkpoint_filter_fn(dict(weights), backbone))


def pit_embed(backbone: PoolingVisionTransformer, images: Tensor) -> Tensor:
    """The tokens (B, N, C) that enter the first block."""
    patches = backbone.pos_drop(backbone.patch_embed(images) + backbone.pos_embed)
    prefix = backbone.cls_token.expand(images.shape[0], -1, -1)
    return _sequence(backbone.transformers[0], patches, prefix)


def pool(backbone: PoolingVisionTransformer, level: int, tokens: Tensor) -> Tensor:
    """The tokens (B, N', C') that enter the next level's first block, from all tokens (B, N, C) at a level's end."""
    transformer, num_prefix = backbone.transformers[level + 1], backbone.num_tokens
    patches = tokens[:, num_prefix:].transpose(1, 2)
    patches = patches.reshape(*patches.shape[:2], *pit_grids(backbone)[level])
    return _sequence(transformer, *transformer.pool(patches, tokens[:, :num_prefix]))


def run_dense(backbone: PoolingVisionTransformer, tokens: Tensor, first: int, last: int) -> Tensor:
    """The tokens before block `last` of the dense model, from those before block `first`.

    Tokens before a level's first block are already pooled; before block `depth` they are those of the last level.
    """
    blocks, starts = pit_blocks(backbone), pit_geometry(backbone).level_starts
    for number in range(first, last):
        tokens = blocks[number](tokens)
        if number + 1 in starts:
            tokens = pool(backbone, starts.index(number + 1) - 1, tokens)
    return tokens


def leading_modules(backbone: PoolingVisionTransformer, first_block: int) -> Sequence[nn.Module]:
    """What computes the tokens before a block, its level's pooling among it."""
    levels = pit_geometry(backbone).level_of(first_block) + 1
    entrances = [
        part
        for transformer in backbone.transformers[:levels]
        for part in (transformer.pool, transformer.norm)
        if part is not None
    ]
    return [backbone.patch_embed, *entrances, *pit_blocks(backbone)[:first_block]]


def _sequence(transformer: Any, patches: Tensor, prefix: Tensor) -> Tensor:
    tokens: Tensor = transformer.norm(torch.cat((prefix, patches.flatten(2).transpose(1, 2)), dim=1))
    return tokens


def _pooled(grid: Grid, conv: nn.Conv2d) -> Grid:
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    height, width = ((size + 2 * padding - kernel) // stride + 1 for size in grid)
    return height, width
