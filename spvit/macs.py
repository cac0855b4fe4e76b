"""What a token plan costs in multiply-accumulates (what papers print as FLOPs). Arithmetic alone; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import Selection, TokenPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelWidths:
    """The widths of a vision transformer. Defaults are those of 224 x 224 ImageNet models with 16 x 16 patches.

    Of some models more is known than widths, in multiply-accumulates of one image: what a stem does before patches are
    cut (`other_stem_macs`), and a head beside its classifier, once (`other_head_macs`) and for each patch that is left.
    """

    dim: int
    num_heads: int
    mlp_ratio: float = 4.0
    patch_size: int = 16
    in_chans: int = 3
    num_classes: int = 1000
    num_prefix_tokens: int = 1
    selector: SelectorKind = SelectorKind.MULTI_HEAD
    weighting: HeadWeighting = HeadWeighting.SENET
    other_stem_macs: int = 0
    other_head_macs: int = 0
    head_macs_per_patch: int = 0

    def __post_init__(self) -> None:
        if self.dim < 1 or self.num_heads < 1 or self.dim % self.num_heads:
            raise ValueError(f"The width must be a multiple of the number of heads, but got {self}.")


def count_macs(plan: TokenPlan, widths: ModelWidths, *, num_patches: int) -> int:
    """Multiply-accumulates of one image: embedding, blocks, selectors, head.

    Norms, sums and softmax are not counted, as usual.

    Args:
        plan: the integer token counts.
        widths: of the model.
        num_patches: patches before the first selector.
    """
    embedding = widths.other_stem_macs + num_patches * widths.patch_size**2 * widths.in_chans * widths.dim
    blocks = sum(block_macs(num_tokens, widths) for num_tokens in plan.block_tokens)
    selectors = sum(selector_macs(selection, widths) for selection in plan.selections)
    num_left = plan.selections[-1].num_kept if plan.selections else num_patches
    head = widths.dim * widths.num_classes + widths.other_head_macs + num_left * widths.head_macs_per_patch
    return embedding + blocks + selectors + head


def block_macs(num_tokens: int, widths: ModelWidths) -> int:
    """One block at this many tokens: four projections, two products of attention, and the MLP."""
    projections = 4 * num_tokens * widths.dim**2
    attention = 2 * num_tokens**2 * widths.dim
    mlp = round(2 * widths.mlp_ratio * num_tokens * widths.dim**2)
    return projections + attention + mlp


def selector_macs(selection: Selection, widths: ModelWidths) -> int:
    """One selector, over the candidates and the packages before it."""
    num_tokens = selection.num_candidates + selection.num_packages_before
    match widths.selector:
        case SelectorKind.LIGHT:
            return num_tokens * widths.dim
        case SelectorKind.CLASS_ATTENTION:  # the query, the keys' map absorbed into it, and a product with every token
            seen = widths.num_prefix_tokens + num_tokens
            return 2 * widths.dim**2 + seen * widths.dim * widths.num_heads
        case SelectorKind.SINGLE_HEAD:
            return _mlp_macs(num_tokens, replace(widths, num_heads=1, weighting=HeadWeighting.MEAN))
        case SelectorKind.MULTI_HEAD | SelectorKind.PER_HEAD:
            return _mlp_macs(num_tokens, widths)


def _mlp_macs(num_tokens: int, widths: ModelWidths) -> int:
    head_dim = widths.dim // widths.num_heads
    half, quarter = head_dim // 2, head_dim // 4
    per_head = head_dim**2 + head_dim * half + half * quarter + quarter * 2
    weighting = 2 * widths.num_heads * (widths.num_heads // 2) if widths.weighting is HeadWeighting.SENET else 0
    return num_tokens * (widths.num_heads * per_head + weighting)
