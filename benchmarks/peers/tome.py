"""ToMe (Bolya et al., 2023): every block merges the r pairs of tokens whose keys are most alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.attention import embed


class ToMe(nn.Module):
    """A backbone that merges tokens between attention and MLP of every block, and attends in proportion to size.

    Torch's fused attention takes the logarithms of the sizes as its mask; the authors' code computes the whole matrix.

    Args:
        backbone: a timm vision transformer with one class token, which is never merged; shared, not copied.
        num_merged: tokens that every block merges into others (the paper's r), at most half of what is there.
    """

    def __init__(self, backbone: Any, num_merged: int) -> None:
        super().__init__()
        self.backbone, self.num_merged = backbone, num_merged

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W)."""
        x, size = embed(self.backbone, images), None
        for block in self.backbone.blocks:
            attended, key = attend(block.attn, block.norm1(x), size)
            x = x + block.ls1(attended)
            num_merged = mergeable(x.shape[1], self.num_merged)
            if num_merged:
                x, size = merge(x, size, key, num_merged)
            x = x + block.ls2(block.mlp(block.norm2(x)))
        logits: Tensor = self.backbone.forward_head(self.backbone.norm(x))
        return logits

    def block_tokens(self) -> list[tuple[int, int]]:
        """Tokens in the attention and in the MLP of each block."""
        counts, left = [], 1 + self.backbone.patch_embed.num_patches
        for _ in self.backbone.blocks:
            before, left = left, left - mergeable(left, self.num_merged)
            counts.append((before, left))
        return counts


def mergeable(num_tokens: int, num_merged: int) -> int:
    """How many of so many tokens can be merged: half of them without the class token, and no more than asked for."""
    return min(num_merged, (num_tokens - 1) // 2)


def attend(attn: Any, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
    """Proportional attention over tokens of sizes (B, N, 1), and their keys (B, N, d), the mean over heads."""
    batch, length, width = x.shape
    q, k, v = attn.qkv(x).reshape(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    mask = None if size is None else size.log().view(batch, 1, 1, length)
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return attn.proj(mixed.transpose(1, 2).reshape(batch, length, width)), k.mean(1)


def merge(x: Tensor, size: Tensor | None, key: Tensor, num_merged: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, N - r, C) and their sizes after bipartite soft matching (section 3): even tokens go into odd ones.

    A merged token is the mean of its parts, weighted by their sizes.
    """
    stay, source, target = match(key, num_merged)
    size = torch.ones_like(x[..., :1]) if size is None else size
    total = _merged(size, stay, source, target)
    return _merged(x * size, stay, source, target) / total, total


def match(key: Tensor, num_merged: int) -> tuple[Tensor, Tensor, Tensor]:
    """Even tokens that stay (B, E - r, 1), those that go (B, r, 1), and the odd ones that take them (B, r, 1)."""
    key = key / key.norm(dim=-1, keepdim=True)
    alike = key[:, ::2] @ key[:, 1::2].transpose(-1, -2)
    alike[:, 0, :] = -math.inf  # the class token is merged into none
    closest, partner = alike.max(-1)
    order = closest.argsort(dim=-1, descending=True).unsqueeze(-1)
    source, stay = order[:, :num_merged], order[:, num_merged:]
    # In their order, so that the class token stays the first.
    return stay.sort(dim=1).values, source, partner.unsqueeze(-1).gather(1, source)


def _merged(x: Tensor, stay: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Tokens (B, N, C) with the sources added to their targets: even ones that stay, then all odd ones."""
    even, odd = x[:, ::2], x[:, 1::2]
    width = x.shape[-1]
    left = even.gather(1, stay.expand(-1, -1, width))
    added = odd.scatter_add(1, target.expand(-1, -1, width), even.gather(1, source.expand(-1, -1, width)))
    return torch.cat((left, added), dim=1)
