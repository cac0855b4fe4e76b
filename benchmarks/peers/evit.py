"""EViT (Liang et al., 2022): in some blocks the patches that the class token attends to stay, the others are fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.attention import embed


class EViT(nn.Module):
    """A backbone that reorganises its tokens between attention and MLP of some blocks.

    The fused token is one more candidate at the next such block, as in the authors' code. Which tokens stay is read
    from the class token's row of the attention, computed beside torch's fused attention: faster than the whole matrix
    of the authors' code.

    Args:
        backbone: a timm vision transformer with one class token; shared, not copied.
        num_kept: candidates that stay, by the block that drops the others.
    """

    def __init__(self, backbone: Any, num_kept: Mapping[int, int]) -> None:
        super().__init__()
        self.backbone, self.num_kept = backbone, dict(num_kept)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W)."""
        x = embed(self.backbone, images)
        for number, block in enumerate(self.backbone.blocks):
            x = reorganising(block, x, self.num_kept[number]) if number in self.num_kept else block(x)
        logits: Tensor = self.backbone.forward_head(self.backbone.norm(x))
        return logits

    def block_tokens(self) -> list[tuple[int, int]]:
        """Tokens in the attention and in the MLP of each block."""
        counts, left = [], 1 + self.backbone.patch_embed.num_patches
        for number in range(len(self.backbone.blocks)):
            before, left = left, _num_left(self.num_kept.get(number, left), left)
            counts.append((before, left))
        return counts


def reorganising(block: Any, x: Tensor, num_kept: int) -> Tensor:
    """A timm block on tokens (B, N, C) that leaves the class token, `num_kept` candidates and a fused token."""
    attended, attention = attend(block.attn, block.norm1(x))
    x = reorganised(x + block.ls1(attended), attention, num_kept)
    left: Tensor = x + block.ls2(block.mlp(block.norm2(x)))
    return left


def attend(attn: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """What timm's attention gives, and the class token's attention to all others (B, N - 1), the mean over heads."""
    batch, length, width = x.shape
    q, k, v = attn.qkv(x).reshape(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(q, k, v)
    row = (q[:, :, :1] * attn.scale @ k.transpose(-2, -1)).softmax(-1)
    return attn.proj(mixed.transpose(1, 2).reshape(batch, length, width)), row[:, :, 0, 1:].mean(1)


def reorganised(x: Tensor, attention: Tensor, num_kept: int) -> Tensor:
    """Tokens (B, num_kept + 2, C): the class token, those most attended to, the sum of the others by attention."""
    if num_kept >= x.shape[1] - 1:
        return x
    others = x[:, 1:]
    best = attention.topk(num_kept, dim=1).indices
    kept = others.gather(1, best.unsqueeze(-1).expand(-1, -1, x.shape[2]))
    fused = torch.bmm(attention.scatter(1, best, 0.0).unsqueeze(1), others)
    return torch.cat((x[:, :1], kept, fused), dim=1)


def _num_left(num_kept: int, num_tokens: int) -> int:
    return num_tokens if num_kept >= num_tokens - 1 else num_kept + 2
