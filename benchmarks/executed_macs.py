"""Multiply-accumulates that a model really executes: every matrix product, convolution and attention that it calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def executed_macs(model: Callable[[Tensor], object], images: Tensor) -> int:
    """Of one call. torch's counter counts a multiply-accumulate as two, and does not know attention on a CPU."""
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=attention) as counter:
        model(images)
    return int(counter.get_total_flops()) // 2


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))
