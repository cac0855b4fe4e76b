"""What a latency table was measured for: two equal keys name tables that may stand in for each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import Level, PackageMode, TokenGeometry


class Runtime(StrEnum):
    """What executes the model: see `engine` and its neighbours."""

    EAGER = "eager"
    COMPILED = "compiled"
    ONNXRUNTIME = "onnxruntime"
    CUDA_GRAPH = "cuda_graph"


class DType(StrEnum):
    """Number format of weights and activations."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelShape:
    """The sizes of one of a backbone's levels, between which patches are pooled."""

    num_blocks: int
    num_patches: int
    embed_dim: int
    num_heads: int

    def __post_init__(self) -> None:
        if min(self.num_blocks, self.num_patches, self.embed_dim, self.num_heads) < 1:
            raise ValueError(f"Every size of a level must be at least 1, but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneShape:
    """The sizes of a backbone that decide its speed. `num_patch_inputs` is channels x patch height x patch width.

    Patches, width and heads are those of the first block. A backbone that pools its patches on the way has `levels`,
    the first one among them; others have none.
    """

    depth: int
    num_patches: int
    num_prefix_tokens: int
    embed_dim: int
    num_heads: int
    mlp_ratio: float
    num_patch_inputs: int
    num_classes: int
    levels: tuple[LevelShape, ...] = ()

    def __post_init__(self) -> None:
        if min(self.depth, self.num_patches, self.embed_dim, self.num_heads, self.num_patch_inputs) < 1:
            raise ValueError(f"Every size of a backbone must be at least 1, but got {self}.")
        if self.mlp_ratio <= 0.0 or self.num_prefix_tokens < 0 or self.num_classes < 0:
            raise ValueError(f"A backbone's sizes must not be negative, but got {self}.")
        if len(self.levels) == 1:
            raise ValueError(f"A backbone of one level needs no levels, but got {self}.")
        if self.levels and (self.embed_dim, self.num_heads) != (self.levels[0].embed_dim, self.levels[0].num_heads):
            raise ValueError(f"A backbone's width and heads are those of its first level, but got {self}.")
        _ = self.geometry  # refuses levels that do not add up

    @property
    def geometry(self) -> TokenGeometry:
        """The part that decides token counts."""
        levels = (Level(num_blocks=level.num_blocks, num_patches=level.num_patches) for level in self.levels)
        return TokenGeometry(
            depth=self.depth,
            num_patches=self.num_patches,
            num_prefix_tokens=self.num_prefix_tokens,
            levels=tuple(levels),
        )

    @property
    def smallest_num_tokens(self) -> int:
        """The fewest tokens that any schedule can send into a block: the prefix and one patch."""
        return self.num_prefix_tokens + 1

    @property
    def smallest_selection(self) -> int:
        """The fewest tokens that a selector can drop any of: the prefix and two patches."""
        return self.num_prefix_tokens + 2


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectorOptions:
    """The selector whose cost a table holds."""

    kind: SelectorKind = SelectorKind.MULTI_HEAD
    head_weighting: HeadWeighting = HeadWeighting.SENET
    package: PackageMode = PackageMode.PER_SELECTOR


@dataclass(frozen=True, kw_only=True, slots=True)
class TableKey:
    """Device, model and way of running that one table belongs to."""

    device_id: str
    backbone: str
    shape: BackboneShape
    batch_size: int
    dtype: DType = DType.FLOAT32
    runtime: Runtime = Runtime.EAGER
    num_threads: int = 1

    def __post_init__(self) -> None:
        if not self.device_id or not self.backbone:
            raise ValueError(f"A table key needs a device and a backbone, but got {self}.")
        if self.batch_size < 1 or self.num_threads < 1:
            raise ValueError(f"Batch size and threads must be at least 1, but got {self}.")

    @property
    def file_stem(self) -> str:
        """A file name without suffix: readable, and different for different keys."""
        # Files of backbones without levels keep the names that they had before there were any.
        content = repr(self).replace(", levels=()", "")
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        backbone = re.sub(r"[^A-Za-z0-9]+", "_", self.backbone)[:60]
        return (
            f"{backbone}-b{self.batch_size}-{self.dtype}-t{self.num_threads}-{self.runtime}-{self.device_id}-{digest}"
        )
