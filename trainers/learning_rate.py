"""The learning rate as a pure function of the step."""

import math


def lr_at(step: int, *, total_steps: int, peak: float, floor: float, warmup_steps: int = 0) -> float:
    """Linear warm-up to `peak`, then half a cosine down to `floor` (SPViT's schedule, per step instead of per epoch).

    Args:
        step: 0-based; steps beyond `total_steps` stay at `floor`.
        total_steps: steps of the whole training.
        peak: highest rate.
        floor: last rate.
        warmup_steps: steps before the peak.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2
