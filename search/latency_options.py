"""Choices of `[latency]` that are names. No torch, no pydantic."""

from __future__ import annotations

from enum import StrEnum


class TargetDevice(StrEnum):
    """Where the model that is searched for will run."""

    THIS_DEVICE = "this_device"
    OTHER_DEVICE = "other_device"


class OnDrift(StrEnum):
    """What to do where this device has become slower or faster than its latency table says."""

    RESCALE = "rescale"
    WARN = "warn"
    REFUSE = "refuse"
