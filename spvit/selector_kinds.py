"""Makes the selector of a kind for a block of a backbone: every size is taken from the model."""

from __future__ import annotations

from timm.models.vision_transformer import VisionTransformer

from spvit.class_attention_selector import ClassAttentionSelector
from spvit.light_selector import LightSelector
from spvit.multi_head_selector import MultiHeadSelector
from spvit.options import HeadWeighting, SelectorKind
from spvit.per_head_selector import PerHeadSelector
from spvit.selector import TokenSelector


def make_selector(
    kind: SelectorKind, backbone: VisionTransformer, block: int, *, weighting: HeadWeighting = HeadWeighting.SENET
) -> TokenSelector:
    """A fresh selector to stand before `block` of the backbone.

    Raises:
        ValueError: the kind does not fit the widths of the backbone.
    """
    num_heads = backbone.blocks[block].attn.num_heads
    match kind:
        case SelectorKind.MULTI_HEAD:
            return MultiHeadSelector(backbone.embed_dim, num_heads, weighting=weighting)
        case SelectorKind.PER_HEAD:
            return PerHeadSelector(backbone.embed_dim, num_heads, weighting=weighting)
        case SelectorKind.SINGLE_HEAD:
            return MultiHeadSelector(backbone.embed_dim, 1, weighting=weighting)
        case SelectorKind.LIGHT:
            return LightSelector(backbone.embed_dim)
        case SelectorKind.CLASS_ATTENTION:
            return ClassAttentionSelector()
