"""The last block of a model that classifies from its prefix tokens: nothing else leaves it, or need be computed.

Exact, unlike pruning: with a single query q of a head, q . (W_k x) = (W_k' q) . x and sum_n a_n W_v x_n =
W_v sum_n a_n x_n, so neither keys nor values of all tokens are needed.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional


def can_skip_patches(block: nn.Module) -> bool:
    """Whether `prefix_after` knows how this block works; it cannot drop attention weights while training."""
    attention: Any = getattr(block, "attn", None)
    if type(block) is not Block or type(attention) is not Attention:
        return False
    return not attention.training or attention.attn_drop.p == 0.0


def prefix_after(block: Any, tokens: Tensor, num_prefix: int, mask: Tensor | None = None) -> Tensor:
    """The prefix tokens (B, P, C) after a timm `Block` on tokens (B, N, C): `block(tokens)[:, :P]`.

    `mask` (B, 1, 1, N) is True where a token may be seen.
    """
    prefix = tokens[:, :num_prefix]
    prefix = prefix + block.drop_path1(block.ls1(_attend(block.attn, block.norm1(tokens), num_prefix, mask)))
    updated: Tensor = prefix + block.drop_path2(block.ls2(block.mlp(block.norm2(prefix))))
    return updated


def _attend(attn: Any, x: Tensor, num_prefix: int, mask: Tensor | None) -> Tensor:
    """What timm's attention gives the first P of normed tokens (B, N, C): (B, P, C)."""
    batch, _, width = x.shape
    heads = (attn.num_heads, attn.head_dim)
    to_query, to_key, to_value = attn.qkv.weight.view(3, *heads, width)
    logits = _logits(attn, x, num_prefix, to_query, to_key).float()
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    spread = logits.softmax(-1).to(x.dtype)
    mixed = torch.bmm(spread.reshape(batch, -1, x.shape[1]), x).view(batch, num_prefix, attn.num_heads, width)
    values = _by_head(mixed, to_value.transpose(1, 2)).flatten(2)
    if attn.qkv.bias is not None:  # attention sums to 1, so the values' bias passes through as it is
        values = values + attn.qkv.bias[2 * attn.attn_dim :]
    values = attn.norm(values)
    if attn.gate is not None:
        values = values * attn.gate(x[:, :num_prefix]).sigmoid()
    attended: Tensor = attn.proj_drop(attn.proj(values))
    return attended


def _logits(attn: Any, x: Tensor, num_prefix: int, to_query: Tensor, to_key: Tensor) -> Tensor:
    """Attention logits (B, P, H, N) of the prefix, up to what is the same for all tokens of a head."""
    bias, rows = attn.qkv.bias, attn.attn_dim
    query = functional.linear(x[:, :num_prefix], to_query.flatten(0, 1), None if bias is None else bias[:rows])
    query = attn.q_norm(query.view(x.shape[0], num_prefix, attn.num_heads, -1)) * attn.scale
    if isinstance(attn.k_norm, nn.Identity):
        absorbed = _by_head(query, to_key).flatten(1, 2)
        return torch.bmm(absorbed, x.transpose(1, 2)).view(x.shape[0], num_prefix, attn.num_heads, -1)
    keys = functional.linear(x, to_key.flatten(0, 1), None if bias is None else bias[rows : 2 * rows])
    keys = attn.k_norm(keys.view(*x.shape[:2], attn.num_heads, -1))
    return torch.einsum("bphd,bnhd->bphn", query, keys)


def _by_head(x: Tensor, weight: Tensor) -> Tensor:
    """Every head's rows (B, P, H, i) through its own weight (H, i, o): (B, P, H, o)."""
    product = torch.bmm(x.flatten(0, 1).transpose(0, 1), weight)
    return product.transpose(0, 1).reshape(*x.shape[:3], -1)
