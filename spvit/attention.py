"""Attention as pruning needs it: masks made of policies, and which patches are looked at in a dense model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import singledispatch
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-6


def log_policy_mask(policy: Tensor, eps: float = EPS) -> Tensor:
    """Additive attention mask (B, 1, N, N) that passes gradients to the policy (B, N), for training.

    Attention under log(policy + eps) has the value and the gradient of SPViT's `softmax_with_policy`. The diagonal is
    open: a dropped token still sees itself.
    """
    size = policy.shape[1]
    diagonal = torch.eye(size, dtype=policy.dtype, device=policy.device)
    visible = policy.unsqueeze(1) * (1 - diagonal) + diagonal
    return (visible + eps).log().unsqueeze(1)


def bool_policy_mask(policy: Tensor) -> Tensor:
    """Exact attention mask (B, 1, 1, N), True where a token may be seen, for evaluation.

    Rows of dropped tokens need no open diagonal: nobody sees what becomes of them.
    """
    return (policy > 0.5)[:, None, None, :]


def class_attention(block: Any, tokens: Tensor, policy: Tensor | None = None) -> Tensor:
    """How the class token spreads its attention in a timm block: (B, N), the mean over heads, summing to 1.

    Args:
        block: a timm block with a plain `attn`; where its norm follows the attention, tokens enter as they are.
        tokens: (B, N, C) as they enter the block, the class token first.
        policy: (B, N), 1 for tokens that may be seen; all where it is None.
    """
    x = tokens if isinstance(block, ResPostBlock) else block.norm1(tokens)
    logits = _class_logits(block.attn, x).float()
    if policy is not None:
        logits = logits.masked_fill(policy[:, None] < 0.5, -torch.inf)
    spread: Tensor = logits.softmax(-1).mean(1)
    return spread


def _class_logits(attn: Any, x: Tensor) -> Tensor:
    """The class token's attention logits (B, H, N) over normed tokens (B, N, C), up to a constant for each head."""
    rows, num_heads, width = attn.attn_dim, attn.num_heads, attn.head_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    query = functional.linear(x[:, 0], weight[:rows], None if bias is None else bias[:rows])
    query = attn.q_norm(query.view(-1, num_heads, width)) * attn.scale
    to_keys = weight[rows : 2 * rows]
    if isinstance(attn.k_norm, nn.Identity):
        # q . (W x) = (W' q) . x: one product per head and token, not all keys: 1.5 % of a DeiT-S block, not 8 %. The
        # keys' bias adds the same to all of a head's logits, which softmax ignores.
        absorbed = torch.einsum("bhd,hdc->bhc", query, to_keys.view(num_heads, width, -1))
        return torch.bmm(absorbed, x.transpose(1, 2))
    keys = functional.linear(x, to_keys, None if bias is None else bias[rows : 2 * rows])
    return torch.einsum("bhd,bnhd->bhn", query, attn.k_norm(keys.view(*keys.shape[:2], num_heads, width)))


def received_attention(block: Any, tokens: Tensor) -> Tensor:
    """How much attention each token gets in a timm block: (B, N), the mean over heads and all tokens, summing to 1.

    What stands for `class_attention` in models that do not classify by a class token.

    Args:
        block: a timm block with a plain `attn`; where its norm follows the attention, tokens enter as they are.
        tokens: (B, N, C) as they enter the block.
    """
    attn, x = block.attn, tokens if isinstance(block, ResPostBlock) else block.norm1(tokens)
    heads = attn.qkv(x).unflatten(-1, (3, attn.num_heads, attn.head_dim))
    query, key = attn.q_norm(heads[:, :, 0].transpose(1, 2)), attn.k_norm(heads[:, :, 1].transpose(1, 2))
    spread: Tensor = (query * attn.scale @ key.transpose(-2, -1)).float().softmax(-1).mean((1, 2))
    return spread


class Lookahead(NamedTuple):
    """What a selector sees, and what will matter: patch tokens (B, N0, C) and each patch's importance (B, N0)."""

    tokens: Tensor
    importance: Tensor


@singledispatch
def lookahead_attentions(backbone: VisionTransformer, images: Tensor, blocks: Collection[int]) -> dict[int, Lookahead]:
    """For each block: the dense model's patch tokens before it, and the class token's attention from there on.

    Where the model does not classify by its class token, or has none, it is the attention of all tokens.

    Importance is the mean over the block and all behind it, and sums to 1 over patches. The block's own attention is
    a poor guide in shallow models, whose class token looks around before it looks at the object: on a 6-block model of
    85.0 % top-1, keeping .34/.24/.14 by it gave 48.9 %, by the attention still to come 80.7 %.
    """
    if not blocks:
        return {}
    attention = class_attention if backbone.global_pool == "token" else received_attention
    tokens, shares = _walk(backbone, images, blocks, attention)
    return {number: Lookahead(tokens[number], torch.stack(shares[number:]).mean(0)) for number in sorted(blocks)}


@torch.no_grad()
def _walk(
    backbone: VisionTransformer, images: Tensor, blocks: Collection[int], attention: Callable[[Any, Tensor], Tensor]
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Patch tokens before each block asked for, and the attention that every block spreads over patches."""
    tokens: dict[int, Tensor] = {}
    shares: list[Tensor] = []
    x = embed(backbone, images)
    for number, block in enumerate(backbone.blocks):
        if number in blocks:
            tokens[number] = x[:, backbone.num_prefix_tokens :]
        patches = attention(block, x)[:, backbone.num_prefix_tokens :]
        shares.append(patches / patches.sum(1, keepdim=True))
        if len(shares) < len(backbone.blocks):
            x = block(x)
    return tokens, shares


def embed(backbone: VisionTransformer, images: Tensor) -> Tensor:
    """The tokens (B, N, C) that enter the first block, as timm makes them."""
    x = backbone.patch_embed(images)
    x = backbone._pos_embed(x)
    x = backbone.patch_drop(x)
    tokens: Tensor = backbone.norm_pre(x)
    return tokens
