"""Number formats of the forward and backward pass: which one a device is fast in, and the context that uses it."""

from __future__ import annotations

import torch

from trainers.config import Precision


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """`auto` is bfloat16 where the device multiplies it natively (see `has_fast_bfloat16`), else float32."""
    if precision is not Precision.AUTO:
        return precision
    return Precision.BFLOAT16 if has_fast_bfloat16(device) else Precision.FLOAT32


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native: NVIDIA from Ampere on, CPUs with AMX or AVX512-BF16.

    Elsewhere it is emulated, and slower than float32. Native, a gathered step of DeiT-T takes .75 of its float32 time
    on one core with AMX (`benchmarks/train_step.py`).
    """
    match device.type:
        case "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case "cpu":
            return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
        case _:
            return False


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context for forward passes. Weights, losses and the selectors' decisions stay float32."""
    half = resolve_precision(precision, device) is Precision.BFLOAT16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)
