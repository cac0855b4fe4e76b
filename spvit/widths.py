"""The widths of a backbone that decide what it costs, read from its modules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import Tensor, nn

from spvit.lv_vit import LVViT
from spvit.macs import ModelWidths, count_macs
from spvit.options import HeadWeighting, SelectorKind
from spvit.pit_macs import pit_macs_counter
from spvit.schedule import TokenPlan


def widths_of(backbone: Any, *, selector: SelectorKind, weighting: HeadWeighting) -> ModelWidths:
    """What `count_macs` needs to know of a timm vision transformer and its selectors."""
    block, proj = backbone.blocks[0], backbone.patch_embed.proj
    return ModelWidths(
        dim=backbone.embed_dim,
        num_heads=block.attn.num_heads,
        mlp_ratio=mlp_ratio_of(block, backbone.embed_dim),
        patch_size=int(proj.kernel_size[0]),
        in_chans=proj.in_channels,
        num_classes=backbone.num_classes,
        num_prefix_tokens=backbone.num_prefix_tokens,
        selector=selector,
        weighting=weighting,
        other_stem_macs=_other_stem_macs(backbone),
        other_head_macs=_other_head_macs(backbone),
        head_macs_per_patch=_head_macs_per_patch(backbone),
    )


@singledispatch
def macs_counter(backbone: Any, *, selector: SelectorKind, weighting: HeadWeighting) -> Callable[[TokenPlan], int]:
    """Tells what one image costs a timm model in multiply-accumulates, for any of its token plans."""
    widths, num_patches = widths_of(backbone, selector=selector, weighting=weighting), backbone.patch_embed.num_patches
    return partial(count_macs, widths=widths, num_patches=num_patches)


macs_counter.register(PoolingVisionTransformer, pit_macs_counter)


def mlp_ratio_of(block: Any, dim: int) -> float:
    """Width of a plain MLP's hidden layer over that of a token; of a gated one, that of a plain one that costs as much.

    Args:
        block: a timm block.
        dim: width of a token.
    """
    return float(sum(weight.numel() for weight in block.mlp.parameters() if weight.ndim == 2) / (2 * dim**2))


def _other_stem_macs(backbone: Any) -> int:
    """Of the convolutions before the patches are cut, for one image; found by running a copy without numbers."""
    stem = copy.deepcopy(backbone.patch_embed).to("meta").eval()
    convolutions = [conv for conv in stem.modules() if isinstance(conv, nn.Conv2d) and conv is not stem.proj]
    macs: list[int] = []

    def count(conv: nn.Module, _inputs: object, output: Tensor) -> None:
        macs.append(output.numel() * conv.weight[0].numel())  # type: ignore[index]

    for conv in convolutions:
        conv.register_forward_hook(count)
    if convolutions:
        stem(torch.empty(1, backbone.in_chans, *stem.img_size, device="meta"))
    return sum(macs)


def _other_head_macs(backbone: Any) -> int:
    """What a head computes once for each image beside its classifier: a second one, or a pooling's own layers."""
    if getattr(backbone, "head_dist", None) is not None:
        return int(backbone.embed_dim * backbone.num_classes)
    if backbone.attn_pool is None:
        return 0
    linear = [part for name, part in backbone.attn_pool.named_modules() if isinstance(part, nn.Linear) and name != "kv"]
    return sum(part.weight.numel() for part in linear)


def _head_macs_per_patch(backbone: Any) -> int:
    if isinstance(backbone, LVViT):
        return int(backbone.embed_dim * backbone.num_classes)
    if backbone.attn_pool is None:
        return 0
    return int(backbone.attn_pool.kv.weight.numel() + 2 * backbone.embed_dim)
