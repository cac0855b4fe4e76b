"""What a trial's latency term aims at, made from the latency table and the budget that the search itself keeps to."""

from __future__ import annotations

from latency_tables.table import LatencyTable
from search.budget import LatencyBudget, price_from
from search.config import ExperimentConfig
from search.table_files import table_file
from spvit.errors import ConfigError
from spvit.schedule import PruningSchedule
from trainers.config import LatencyTarget


def target_from(experiment: ExperimentConfig, table: LatencyTable) -> LatencyTarget | None:
    """The target, or None where no trial of the experiment has a latency term.

    Raises:
        ConfigError: the backbone pools its patches, which the term does not understand.
    """
    if not experiment.has_latency_term:
        return None
    num_levels = len(table.geometry.levels)
    if num_levels > 1:
        raise ConfigError(
            f"losses.latency must be 0 for a model that pools its patches, but {experiment.model.name} has "
            f"{num_levels} levels. The search keeps to the budget without this term as well."
        )
    dense = price_from(table)(PruningSchedule().plan(table.geometry))
    return LatencyTarget.from_table(table, LatencyBudget.from_config(experiment.latency, dense).max_ms)


def known_target(experiment: ExperimentConfig) -> LatencyTarget | None:
    """The same from the experiment's table, where that was measured already.

    Raises:
        LatencyTableError: the table is damaged.
        ConfigError: see `target_from`.
    """
    if not experiment.has_latency_term:
        return None
    path = table_file(experiment.latency.table, experiment.study.directory / experiment.study.name)
    if not path.exists():
        return None
    return target_from(experiment, LatencyTable.load(path))
