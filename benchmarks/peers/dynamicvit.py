"""DynamicViT (Rao et al., 2021), as it runs at inference: a predictor scores patches, and the best of them go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spvit.attention import embed


class Predictor(nn.Module):
    """Section 3.2: a local half of each token's features beside the mean of the other half over all patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.leave = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Scores (B, M) of patches (B, M, C): the logarithm of the probability to be kept."""
        local, other = self.enter(patches).chunk(2, dim=-1)
        context = other.mean(1, keepdim=True).expand_as(local)
        scores: Tensor = self.leave(torch.cat((local, context), dim=-1)).log_softmax(-1)[..., 0]
        return scores


class DynamicViT(nn.Module):
    """A backbone in which only `num_kept[block]` patches are left from a block on; dropped ones are lost.

    Args:
        backbone: a timm vision transformer with one class token; shared, not copied.
        num_kept: patches that are left, by the block that a predictor stands before.
    """

    def __init__(self, backbone: Any, num_kept: Mapping[int, int]) -> None:
        super().__init__()
        self.backbone, self.num_kept = backbone, dict(num_kept)
        self.predictors = nn.ModuleDict({str(block): Predictor(backbone.embed_dim) for block in num_kept})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W)."""
        x = embed(self.backbone, images)
        for number, block in enumerate(self.backbone.blocks):
            if number in self.num_kept:
                x = self._kept(x, self.predictors[str(number)], self.num_kept[number])
            x = block(x)
        logits: Tensor = self.backbone.forward_head(self.backbone.norm(x))
        return logits

    def block_tokens(self) -> list[tuple[int, int]]:
        """Tokens in the attention and in the MLP of each block."""
        counts, left = [], 1 + self.backbone.patch_embed.num_patches
        for number in range(len(self.backbone.blocks)):
            left = 1 + self.num_kept[number] if number in self.num_kept else left
            counts.append((left, left))
        return counts

    @staticmethod
    def _kept(x: Tensor, predictor: nn.Module, num_kept: int) -> Tensor:
        """The class token and the best patches, the best first, looked up in the flattened batch as the authors do."""
        batch, length, width = x.shape
        best = predictor(x[:, 1:]).topk(num_kept, dim=1).indices + 1
        index = torch.cat((best.new_zeros(batch, 1), best), dim=1)
        rows = index + torch.arange(batch, device=x.device).unsqueeze(1) * length
        return x.reshape(-1, width)[rows.flatten()].view(batch, num_kept + 1, width)
