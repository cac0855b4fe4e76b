"""When a search ends, and how much of it runs at once."""

from __future__ import annotations

from dataclasses import dataclass

from search.config import ExperimentConfig
from search.stopping import StopRule, stop_rules


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """When a search ends."""

    num_trials: int
    num_concurrent: int
    max_failed_share: float
    gpus_per_trial: float = 0.0
    rules: tuple[StopRule, ...] = ()
    stuck_factor: float = 10.0
    stuck_floor_s: float = 1800.0

    @classmethod
    def from_config(cls, experiment: ExperimentConfig) -> Limits:
        """The limits that an experiment sets."""
        config = experiment.search
        return cls(
            num_trials=config.num_trials,
            num_concurrent=config.num_concurrent,
            max_failed_share=config.max_failed_share,
            gpus_per_trial=experiment.trial_resources.gpus,
            rules=stop_rules(config),
            stuck_factor=config.stuck_factor,
            stuck_floor_s=config.stuck_floor_s,
        )
