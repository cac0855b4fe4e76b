"""What is left of an image becomes its logits: the class token, a mean, a maximum, or an attention over patches.

Dropped tokens take no part. A package stands for what was folded into it: in a mean by its mass, the weight of the
tokens that went in; in an attention as one token, as in the blocks; in a maximum, which asks for single patches, not
at all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from spvit.attention import bool_policy_mask
from spvit.lv_vit import LVViT
from spvit.maximum import maximum_of_kept
from spvit.packaging import shares_of

EPS = 1e-6
POOLINGS = frozenset({"token", "avg", "avgmax", "max", "map"})
"""timm's `global_pool` that is known here. "prr" lets patches attend to each other once more, without a mask."""


class Left(NamedTuple):
    """Tokens at the end of a pruned model.

    Attributes:
        tokens: (B, P + M + S, C), normed: prefix tokens, patches, packages.
        mass: (B, S), of the packages.
        keep: (B, M), 1 for patches that are still there, with a gradient if they were sampled; None if all are.
    """

    tokens: Tensor
    mass: Tensor
    keep: Tensor | None = None


def reads_patches(backbone: VisionTransformer) -> bool:
    """Whether a model's logits depend on more than its prefix tokens."""
    return backbone.global_pool != "token" or isinstance(backbone, LVViT)


def logits_of(backbone: VisionTransformer, left: Left, *, is_sampled: bool = False) -> Tensor:
    """Logits (B, classes).

    Args:
        backbone: the model whose head this is.
        left: what its blocks gave.
        is_sampled: `left.keep` was sampled while training, so gradients must reach it.
    """
    if not reads_patches(backbone) or (left.keep is None and not left.mass.shape[1]):
        logits: Tensor = backbone.forward_head(left.tokens)
        return logits
    if isinstance(backbone, LVViT):
        return backbone.logits(left.tokens[:, : left.tokens.shape[1] - left.mass.shape[1]], left.keep)
    pooled = _attended(backbone, left, is_sampled) if backbone.global_pool == "map" else _averaged(backbone, left)
    classified: Tensor = backbone.head(backbone.head_drop(backbone.fc_norm(pooled)))
    return classified


def _averaged(backbone: VisionTransformer, left: Left) -> Tensor:
    start = 0 if backbone.pool_include_prefix else backbone.num_prefix_tokens
    tokens, single = left.tokens[:, start:], _weights_of_single_tokens(left, backbone.num_prefix_tokens)[:, start:]
    match backbone.global_pool:
        case "avg":
            return _mean(tokens, single, left.mass)
        case "max":
            return maximum_of_kept(tokens[:, : single.shape[1]], single)
        case _:
            maximum = maximum_of_kept(tokens[:, : single.shape[1]], single)
            return 0.5 * (maximum + _mean(tokens, single, left.mass))


def _weights_of_single_tokens(left: Left, num_prefix: int) -> Tensor:
    """(B, P + M): 1 for prefix tokens and for patches that are still there."""
    num_patches = left.tokens.shape[1] - num_prefix - left.mass.shape[1]
    keep = left.mass.new_ones(len(left.mass), num_patches) if left.keep is None else left.keep
    return torch.cat((keep.new_ones(len(keep), num_prefix), keep), dim=1)


def _mean(tokens: Tensor, single: Tensor, mass: Tensor) -> Tensor:
    shares = shares_of(torch.cat((single, mass), dim=1).float())
    return torch.bmm(shares.to(tokens.dtype).unsqueeze(1), tokens).squeeze(1)


def _attended(backbone: VisionTransformer, left: Left, is_sampled: bool) -> Tensor:
    start = 0 if backbone.pool_include_prefix else backbone.num_prefix_tokens
    mask = None if left.keep is None else _mask(left, backbone.num_prefix_tokens, is_sampled)[..., start:]
    pooled: Tensor = backbone.attn_pool(left.tokens[:, start:], attn_mask=mask)
    return pooled


def _mask(left: Left, num_prefix: int, is_sampled: bool) -> Tensor:
    """Over all tokens (B, 1, 1, N), for the attention of a latent query that is none of them."""
    packages = (left.mass > 0).to(left.mass.dtype)
    policy = torch.cat((_weights_of_single_tokens(left, num_prefix), packages), dim=1)
    if not is_sampled:
        return bool_policy_mask(policy)
    return (policy + EPS).log()[:, None, None].to(left.tokens.dtype)
