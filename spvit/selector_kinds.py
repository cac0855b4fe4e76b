"""Makes the selector of a kind for a block of a backbone: every size is taken from the block."""

from __future__ import annotations

from typing import Any

from spvit.class_attention_selector import ClassAttentionSelector
from spvit.errors import UnsupportedModelError
from spvit.light_selector import LightSelector
from spvit.multi_head_selector import MultiHeadSelector
from spvit.options import HeadWeighting, SelectorKind
from spvit.per_head_selector import PerHeadSelector
from spvit.selector import TokenSelector


def check_selector(kind: SelectorKind, backbone: Any) -> None:
    """Refuse a kind that this backbone cannot have.

    Raises:
        UnsupportedModelError: class attention is asked for, but there is no class token.
    """
    if kind is SelectorKind.CLASS_ATTENTION and not getattr(backbone, "has_class_token", True):
        others = ", ".join(f'"{other}"' for other in SelectorKind if other is not kind)
        raise UnsupportedModelError(
            f'pruning.selector = "{kind}" needs a class token, but this model has none: it pools its patches '
            f"(global_pool={backbone.global_pool!r}). Choose one of {others}."
        )


def make_selector(kind: SelectorKind, block: Any, *, weighting: HeadWeighting = HeadWeighting.SENET) -> TokenSelector:
    """A fresh selector to stand before a timm block.

    Raises:
        ValueError: the kind does not fit the widths of the block.
    """
    width, num_heads = block.attn.qkv.in_features, block.attn.num_heads
    match kind:
        case SelectorKind.MULTI_HEAD:
            return MultiHeadSelector(width, num_heads, weighting=weighting)
        case SelectorKind.PER_HEAD:
            return PerHeadSelector(width, num_heads, weighting=weighting)
        case SelectorKind.SINGLE_HEAD:
            return MultiHeadSelector(width, 1, weighting=weighting)
        case SelectorKind.LIGHT:
            return LightSelector(width)
        case SelectorKind.CLASS_ATTENTION:
            return ClassAttentionSelector()
