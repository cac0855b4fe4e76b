"""What a token plan costs a PiT in multiply-accumulates: each level has a width of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models.pit import PoolingVisionTransformer

from spvit.macs import ModelWidths, block_macs, selector_macs
from spvit.options import HeadWeighting, SelectorKind
from spvit.pit_levels import pit_geometry
from spvit.schedule import TokenGeometry, TokenPlan


def pit_macs_counter(
    backbone: PoolingVisionTransformer, *, selector: SelectorKind, weighting: HeadWeighting
) -> Callable[[TokenPlan], int]:
    """See `spvit.widths.macs_counter`."""
    geometry = pit_geometry(backbone)
    levels = [
        _level_widths(backbone, transformer, selector=selector, weighting=weighting)
        for transformer in backbone.transformers
    ]
    fixed = _embedding_macs(backbone, geometry) + _pooling_macs(backbone, geometry) + _head_macs(backbone)

    def count(plan: TokenPlan) -> int:
        blocks = sum(
            block_macs(num_tokens, levels[geometry.level_of(block)])
            for block, num_tokens in enumerate(plan.block_tokens)
        )
        selectors = sum(
            selector_macs(selection, levels[geometry.level_of(selection.block)]) for selection in plan.selections
        )
        return fixed + blocks + selectors

    return count


def _level_widths(
    backbone: PoolingVisionTransformer, transformer: Any, *, selector: SelectorKind, weighting: HeadWeighting
) -> ModelWidths:
    block = transformer.blocks[0]
    dim = block.attn.qkv.in_features
    return ModelWidths(
        dim=dim,
        num_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features / dim,
        num_prefix_tokens=backbone.num_tokens,
        selector=selector,
        weighting=weighting,
    )


def _embedding_macs(backbone: PoolingVisionTransformer, geometry: TokenGeometry) -> int:
    return int(geometry.num_patches * backbone.patch_embed.conv.weight.numel())


def _pooling_macs(backbone: PoolingVisionTransformer, geometry: TokenGeometry) -> int:
    """Of the convolutions over the patches and the maps of the prefix tokens between levels."""
    pooled = zip(backbone.transformers[1:], geometry.levels[1:], strict=True)
    return sum(
        level.num_patches * transformer.pool.conv.weight.numel()
        + geometry.num_prefix_tokens * transformer.pool.fc.weight.numel()
        for transformer, level in pooled
    )


def _head_macs(backbone: PoolingVisionTransformer) -> int:
    num_heads = 1 if backbone.head_dist is None else 2
    return int(num_heads * backbone.head.weight.numel())
