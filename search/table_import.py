"""A latency table for an experiment, from a CSV file that was measured elsewhere."""

from __future__ import annotations

from pathlib import Path

from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.profiling import experiment_shape, save_with_pictures, selector_options
from search.table_files import TABLE_FILE, is_priced
from spvit.errors import UsageError


def import_for(
    experiment: ExperimentConfig, file: Path, *, device_name: str, dense_ms: float | None = None
) -> LatencyTable:
    """The table that the file makes for the experiment's model and way of running.

    Raises:
        UsageError: the device has no name.
        ConfigError: the backbone cannot be made.
        LatencyTableError: the file cannot be; names the line and the column.
    """
    from latency_tables.csv_import import ImportTarget, import_table
    from latency_tables.key import DType, Runtime

    latency = experiment.latency
    if not device_name.strip():
        raise UsageError("--device: the name of the device that was measured is required, but is empty")
    target = ImportTarget(
        device_name=device_name,
        backbone=experiment.model.name,
        shape=experiment_shape(experiment),
        batch_size=latency.batch_size,
        dtype=DType(latency.dtype),
        runtime=Runtime(latency.runtime),
        num_threads=latency.num_threads,
        selector=selector_options(experiment),
    )
    return import_table(file, target, dense_ms=dense_ms)


def output_path(output: Path | None, folder: Path, *, force: bool) -> Path:
    """Where an imported table is written: as asked, or where the study's own table is.

    Raises:
        UsageError: there is a table that is not to be replaced, or that trials were priced with.
    """
    path = output or folder / TABLE_FILE
    if output is None and is_priced(folder):
        raise UsageError(
            f"what is in {folder} was priced with its latency table, so that cannot be replaced. Give --output, or "
            "another name to the new study: --set study.name=NAME"
        )
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; give --force to replace it, or another --output")
    return path


def write_table(table: LatencyTable, path: Path, folder: Path) -> None:
    """Writes an imported table; where it is the study's own, anew with the picture and the page of the one before.

    Raises:
        StorageError: the table cannot be written.
    """
    if path.absolute() == (folder / TABLE_FILE).absolute():
        save_with_pictures(table, folder)
    else:
        table.save(path)
