from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spvit.factory import create_backbone

TINY = {"num_classes": 7, "img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 6, "num_heads": 3}

MakeBackbone = Callable[..., Any]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def make_backbone() -> MakeBackbone:
    """A small model of the asked kind: 64 patches, 6 blocks, random weights, in evaluation mode."""

    def make(name: str = "deit_tiny_patch16_224", **args: bool | int | float | str) -> Any:
        return create_backbone(name, args=TINY | args).eval()

    return make


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 32, 32)
