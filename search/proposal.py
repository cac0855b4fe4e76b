"""What the driver may make a trial of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.records import Latency, Origin
from spvit.schedule import TokenPlan
from trainers.config import TrialConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A configuration that may become a trial."""

    config: TrialConfig
    plan: TokenPlan
    latency: Latency
    params: Mapping[str, Any]
    origin: Origin = Origin.SAMPLER
    label: str = ""
    retry_of: int | None = None
    continues: int | None = None
    curve: tuple[float, ...] = ()
    """Epochs that an interrupted trial had finished; only a retry has any."""
    epoch_s: tuple[float, ...] = ()
    """How long they took, in seconds."""
