"""What the driver may make a trial of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.records import Latency, Origin
from spvit.schedule import TokenPlan
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from search.space import SearchSpace


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
    estimated_top1: float | None = None
    """What the elastic weights that it starts from give its schedule, in percent."""
    space: SearchSpace | None = None
    """What its parameters are drawn from, where that is a part of the study's space."""
