"""The table that comes with the package for an experiment's model on this device, if there is one."""

from __future__ import annotations

from pathlib import Path

from latency_tables.device import DeviceFingerprint
from latency_tables.key import DType, Runtime, TableKey
from latency_tables.store import SHIPPED_TABLES, find_table
from latency_tables.table import PROTOCOL_VERSION, LatencyTable
from search.config import ExperimentConfig
from search.latency_options import TargetDevice
from search.profiling import check_selectors, experiment_shape, save_with_pictures
from search.table_files import required_table
from spvit.errors import LatencyTableError


def needed_shipped_table(experiment: ExperimentConfig, folder: Path) -> LatencyTable | None:
    """The shipped table that is to price a study, where its folder needs one and there is one.

    There is none where the experiment names a table, the study has one or had one, or no shipped table was measured
    for just this device, model and way of running with the experiment's selectors.

    Raises:
        LatencyTableError: the study's own is gone.
    """
    if required_table(experiment.latency.table, folder, may_measure=True) is not None:
        return None
    return shipped_table(experiment)


def place_shipped_table(table: LatencyTable, folder: Path) -> str:
    """Puts a shipped table into the folder of a study, from now on its own; a sentence that says so.

    Raises:
        StorageError: the folder cannot be written.
    """
    save_with_pictures(table, folder)
    return (
        f"The latency table is the one that comes with spvit-search for {table.key.backbone} on {table.key.device_id}; "
        "`spvit-search profile EXPERIMENT` measures your own device instead."
    )


def shipped_table(experiment: ExperimentConfig) -> LatencyTable | None:
    """The shipped table that may price an experiment here, if any."""
    if experiment.latency.target is TargetDevice.OTHER_DEVICE:
        return None
    table = find_table([SHIPPED_TABLES], _key(experiment))
    if table is None or table.protocol_version != PROTOCOL_VERSION:
        return None
    try:
        check_selectors(table, experiment)  # all else is in the key
    except LatencyTableError:
        return None
    return table


def _key(experiment: ExperimentConfig) -> TableKey:
    latency = experiment.latency
    return TableKey(
        device_id=DeviceFingerprint.detect(latency.device, runtime=latency.runtime).id,
        backbone=experiment.model.name,
        shape=experiment_shape(experiment),
        batch_size=latency.batch_size,
        dtype=DType(latency.dtype),
        runtime=Runtime(latency.runtime),
        num_threads=latency.num_threads,
    )
