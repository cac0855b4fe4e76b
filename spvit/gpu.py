"""Which GPUs are there."""

from __future__ import annotations

from spvit.errors import ConfigError


def check_gpu(device: str, *, key: str) -> None:
    """Refuse a GPU that torch does not see; any other device passes.

    Args:
        device: a torch device such as `cpu` or `cuda:0`.
        key: the setting that names it.

    Raises:
        ConfigError: there is no such GPU.
    """
    if not device.startswith("cuda"):
        return
    import torch

    number, num_gpus = torch.device(device).index or 0, torch.cuda.device_count()
    if number >= num_gpus:
        raise ConfigError(
            f'{key} = "{device}" needs a GPU, but torch {torch.__version__} sees {num_gpus} here. Set {key} = "cpu", '
            "or run on a machine with a GPU and a build of torch with CUDA."
        )


def num_gpus() -> int:
    """How many GPUs torch sees on this machine."""
    import torch

    return torch.cuda.device_count()
