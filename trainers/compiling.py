"""`torch.compile` as an option, and a refusal in plain words where this machine cannot compile."""

from __future__ import annotations

import torch
from torch import nn

from spvit.errors import ConfigError


def compile_blocks(module: nn.Module, device: torch.device) -> None:
    """Compile every transformer block within a module in place, at its first call; names of weights stay as they are.

    Blocks do nearly all the work and are alike, so that one translation serves them all. What is between them, the
    decisions of selectors, stays as it is: compiled as a whole a step was cut into dozens of graphs, and took minutes.

    Raises:
        ConfigError: torch cannot compile for this device here.
    """
    check_compiler(device)
    for name, child in module.named_modules():
        if name.rpartition(".")[0].endswith("blocks"):
            child.compile()


def check_compiler(device: torch.device) -> None:
    """Compile and run the smallest function there is.

    Raises:
        ConfigError: that failed.
    """
    try:
        torch.compile(_plus_one, fullgraph=True)(torch.zeros(2, device=device))
    except Exception as error:  # torch raises classes of its own, Triton and the C++ compiler others
        raise ConfigError(
            f"training.compile = true was set, but torch cannot compile for {device.type} here: "
            f"{str(error).strip().splitlines()[0]}. Install a C++ compiler (CPU) or Triton (GPU), "
            f"or set training.compile = false."
        ) from error


def _plus_one(x: torch.Tensor) -> torch.Tensor:
    return x + 1
