"""Keeps Hugging Face's libraries from the network for a while: timm has no way to say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

SWITCH = "HF_HUB_OFFLINE"
HOLDERS = ("datasets.config", "huggingface_hub.constants")


@contextmanager
def hugging_face_offline(*, offline: bool) -> Iterator[None]:
    """Within it data sets come from the cache on disk only; without, a missing one costs half a minute of retries.

    Raises:
        ImportError: `datasets` is not installed.
    """
    if not offline:
        yield
        return
    holders = [import_module(name) for name in HOLDERS]
    before = [getattr(holder, SWITCH) for holder in holders]
    for holder in holders:
        setattr(holder, SWITCH, True)
    try:
        yield
    finally:
        for holder, value in zip(holders, before, strict=True):
            setattr(holder, SWITCH, value)
