"""`torch.compile` as an option of training."""

from __future__ import annotations

import torch
from torch import nn

from spvit.compiling import blocks_within, check_compiler


def compile_blocks(module: nn.Module, device: torch.device) -> None:
    """Compile every transformer block within a module in place, at its first call; names of weights stay as they are.

    Raises:
        ConfigError: torch cannot compile for this device here.
    """
    check_compiler(device, asked="training.compile = true", instead="training.compile = false")
    for block in blocks_within(module):
        block.compile()
