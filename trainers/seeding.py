"""Torch's random numbers from a seed, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers (on all devices) from `seed`; the state before is put back at the end.

    Seeding each epoch anew makes it a function of its number: a resumed run needs no stored generator state.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
