"""What an experiment's backbone is like, read from the model itself without its weights."""

from __future__ import annotations

from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.latency_target import known_target, target_from
from spvit.errors import ConfigError
from spvit.schedule import TokenGeometry
from trainers.config import TrialConfig


def geometry_of_experiment(experiment: ExperimentConfig) -> TokenGeometry:
    """Depth and token counts of the experiment's backbone.

    Raises:
        ConfigError: timm knows no such model, or its tokens cannot be pruned.
    """
    from spvit.factory import create_backbone, geometry_of

    return geometry_of(create_backbone(experiment.model.name, args=experiment.model.args))


def trial_of(experiment: ExperimentConfig, table: LatencyTable | None = None) -> TrialConfig:
    """The trial that the experiment describes by itself.

    Args:
        experiment: names model, schedule and budget.
        table: what prices it, for a latency term in its loss; the file's where absent, if there is one.

    Raises:
        ConfigError: the model cannot be made, or the schedule lies behind its last block.
        LatencyTableError: the loss has a latency term and the table is damaged.
    """
    geometry = geometry_of_experiment(experiment)
    try:
        trial = experiment.fixed_trial(geometry.depth)
        trial.pruning.schedule.plan(geometry, trial.pruning.package)
    except ValueError as error:
        raise ConfigError(f"[pruning] does not fit {experiment.model.name}: {error}") from None
    target = known_target(experiment) if table is None else target_from(experiment, table)
    return trial.model_copy(update={"latency": target})
