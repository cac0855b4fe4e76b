"""Where backbones are cut into parts, one kind of backbone after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from timm.models.pit import PoolingVisionTransformer
from torch import Tensor

from latency_tables.key import BackboneShape, LevelShape
from spvit.attention import embed
from spvit.factory import geometry_of
from spvit.last_block import can_skip_patches
from spvit.pit_levels import pit_blocks, pit_embed, pool
from spvit.pooling import reads_patches
from spvit.schedule import TokenGeometry
from spvit.widths import mlp_ratio_of


class Cut(ABC):
    """A backbone's blocks, and what lies before, between and behind its levels."""

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.geometry: TokenGeometry = geometry_of(backbone)

    @property
    @abstractmethod
    def blocks(self) -> list[Any]:
        """All blocks, numbered through the network."""

    @abstractmethod
    def shape(self) -> BackboneShape:
        """The sizes that decide the backbone's speed."""

    @abstractmethod
    def stem(self, images: Tensor) -> Tensor:
        """Tokens (B, N, C) that enter the first block."""

    @abstractmethod
    def pool(self, level: int, tokens: Tensor) -> Tensor:
        """Tokens (B, N', C') that enter the next level, from all tokens (B, N, C) of a level."""

    @property
    @abstractmethod
    def head_reads_patches(self) -> bool:
        """Whether the head takes patches besides the prefix tokens."""

    @property
    def last_block_can_skip_patches(self) -> bool:
        """Whether pruned models compute only the prefix tokens of the last block."""
        return False

    def blocks_of(self, level: int) -> list[Any]:
        """The blocks of one level."""
        start = self.geometry.level_starts[level]
        return self.blocks[start : start + self.geometry.levels[level].num_blocks]

    def tokens_of_levels(self, images: Tensor) -> list[Tensor]:
        """The tokens (B, N, C) that enter each level of the dense model."""
        tokens = [self.stem(images)]
        for level in range(len(self.geometry.levels) - 1):
            x = tokens[-1]
            for block in self.blocks_of(level):
                x = block(x)
            tokens.append(self.pool(level, x))
        return tokens


class ViTCut(Cut):
    """Of a plain vision transformer: a single level."""

    @property
    def blocks(self) -> list[Any]:
        """See `Cut.blocks`."""
        return list(self.backbone.blocks)

    def shape(self) -> BackboneShape:
        """See `Cut.shape`."""
        backbone, block = self.backbone, self.backbone.blocks[0]
        return BackboneShape(
            depth=self.geometry.depth,
            num_patches=self.geometry.num_patches,
            num_prefix_tokens=self.geometry.num_prefix_tokens,
            embed_dim=backbone.embed_dim,
            num_heads=block.attn.num_heads,
            mlp_ratio=mlp_ratio_of(block, backbone.embed_dim),
            num_patch_inputs=backbone.patch_embed.proj.weight[0].numel(),
            num_classes=backbone.num_classes,
        )

    def stem(self, images: Tensor) -> Tensor:
        """See `Cut.stem`."""
        return embed(self.backbone, images)

    def pool(self, level: int, tokens: Tensor) -> Tensor:
        """There is no next level."""
        del tokens
        raise IndexError(f"A plain vision transformer has no pooling behind level {level}.")

    @property
    def head_reads_patches(self) -> bool:
        """See `Cut.head_reads_patches`."""
        return reads_patches(self.backbone)

    @property
    def last_block_can_skip_patches(self) -> bool:
        """See `Cut.last_block_can_skip_patches`."""
        return not self.head_reads_patches and can_skip_patches(self.blocks[-1])


class PiTCut(Cut):
    """Of a PiT, which pools its patches between levels of rising width."""

    @property
    def blocks(self) -> list[Any]:
        """See `Cut.blocks`."""
        return pit_blocks(self.backbone)

    def shape(self) -> BackboneShape:
        """See `Cut.shape`."""
        levels = tuple(self._level_shape(level) for level in range(len(self.geometry.levels)))
        return BackboneShape(
            depth=self.geometry.depth,
            num_patches=self.geometry.num_patches,
            num_prefix_tokens=self.geometry.num_prefix_tokens,
            embed_dim=levels[0].embed_dim,
            num_heads=levels[0].num_heads,
            mlp_ratio=mlp_ratio_of(self.blocks[0], levels[0].embed_dim),
            num_patch_inputs=self.backbone.patch_embed.conv.weight[0].numel(),
            num_classes=self.backbone.num_classes,
            levels=levels if len(levels) > 1 else (),
        )

    def _level_shape(self, level: int) -> LevelShape:
        attention = self.blocks_of(level)[0].attn
        return LevelShape(
            num_blocks=self.geometry.levels[level].num_blocks,
            num_patches=self.geometry.levels[level].num_patches,
            embed_dim=attention.qkv.in_features,
            num_heads=attention.num_heads,
        )

    def stem(self, images: Tensor) -> Tensor:
        """See `Cut.stem`."""
        return pit_embed(self.backbone, images)

    def pool(self, level: int, tokens: Tensor) -> Tensor:
        """See `Cut.pool`."""
        return pool(self.backbone, level, tokens)

    @property
    def head_reads_patches(self) -> bool:
        """See `Cut.head_reads_patches`."""
        return False


def cut_of(backbone: Any) -> Cut:
    """How a backbone of `create_backbone` is cut."""
    return PiTCut(backbone) if isinstance(backbone, PoolingVisionTransformer) else ViTCut(backbone)
