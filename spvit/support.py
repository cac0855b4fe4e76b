"""Whether a model has a form in which its tokens can be pruned: looked up in the model itself, whatever its name."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from timm.layers import Attention
from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import VisionTransformer

from spvit.lv_vit import LVViT
from spvit.pit_levels import why_pit_unsupported
from spvit.pooling import POOLINGS


@singledispatch
def why_unsupported(model: Any) -> str:
    """Why a model's tokens cannot be pruned, to follow its name; empty where they can."""
    return f"is a {type(model).__name__}"


@why_unsupported.register
def _why_vit_unsupported(model: VisionTransformer) -> str:
    return _why_not_classified(model) or _why_not_dropped(model)


why_unsupported.register(PoolingVisionTransformer, why_pit_unsupported)


def _why_not_classified(model: VisionTransformer) -> str:
    """Why what is left of an image cannot become logits."""
    if model.global_pool not in POOLINGS:
        return f"pools its tokens with global_pool={model.global_pool!r} (known are {', '.join(sorted(POOLINGS))})"
    if isinstance(model, LVViT) and model.global_pool != "token":
        return f"classifies by its class token and patches, but global_pool={model.global_pool!r} was asked for"
    if not model.num_classes:
        return "is published without a classifier (set model.args.num_classes to your number of classes)"
    return ""


def _why_not_dropped(model: VisionTransformer) -> str:
    """Why tokens cannot leave on the way."""
    if getattr(model, "rope", None) is not None:
        return "rotates positions in every block (RoPE)"
    if model.dynamic_img_size:
        return "takes images of any size, so that its token counts are not fixed (model.args.dynamic_img_size = false)"
    if not all(isinstance(getattr(block, "attn", None), Attention) for block in model.blocks):
        return f"has blocks without a plain attention ({type(model.blocks[0]).__name__})"
    return ""
