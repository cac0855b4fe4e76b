"""`torch.compile` of transformer blocks, one by one, and a refusal in plain words where this machine cannot compile."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spvit.errors import ConfigError
from spvit.wording import first_line


def blocks_within(module: nn.Module) -> Iterator[nn.Module]:
    """The transformer blocks within a model, its own lists of which are called `blocks`.

    Blocks do nearly all the work and are alike, so that one translation serves them all. What is between them, the
    decisions of selectors, stays as it is: compiled as a whole a training step was cut into dozens of graphs, and took
    minutes.
    """
    return (child for name, child in module.named_modules() if name.rpartition(".")[0].endswith("blocks"))


def check_compiler(device: torch.device, *, asked: str, instead: str) -> None:
    """Compile and run the smallest function there is.

    Args:
        device: where models will run.
        asked: the setting that asks for compilation.
        instead: the setting that does without.

    Raises:
        ConfigError: that failed.
    """
    try:
        torch.compile(_plus_one, fullgraph=True)(torch.zeros(2, device=device))
    except Exception as error:  # torch raises classes of its own, Triton and the C++ compiler others
        raise ConfigError(
            f"{asked} was set, but torch cannot compile for {device.type} here: "
            f"{first_line(error)}. Install a C++ compiler (CPU) or Triton (GPU), or set {instead}."
        ) from error


def _plus_one(x: Tensor) -> Tensor:
    return x + 1
