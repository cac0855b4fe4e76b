"""The latency table of a study: the one that its experiment names, the one in its folder, or a new measurement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.device import DeviceFingerprint
from latency_tables.health import check_table
from latency_tables.key import SelectorOptions
from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.latency_config import LatencyConfig
from search.latency_options import TargetDevice
from search.table_files import TABLE_FILE, is_priced, required_table
from spvit.errors import LatencyTableError, UsageError
from spvit.options import SelectorKind

if TYPE_CHECKING:
    from latency_tables.key import BackboneShape

PLOT_FILE = "latency_table.png"
PAGE_FILE = "latency_table.html"
WEIGHTED = frozenset({SelectorKind.MULTI_HEAD, SelectorKind.PER_HEAD})
"""The selectors that have heads to weigh; `pruning.head_weighting` changes no other's cost."""

Progress = Callable[[float, str], None]


def study_table(experiment: ExperimentConfig, folder: Path, *, may_measure: bool, progress: Progress) -> LatencyTable:
    """The table that prices a study's models, measured now if there is none yet and that is allowed.

    Raises:
        LatencyTableError: there is none, the study's own is gone, or it was measured on another device or for another
            model.
    """
    path = required_table(experiment.latency.table, folder, may_measure=may_measure)
    if path is None:
        return measure_study_table(experiment, folder, progress=progress)
    table = LatencyTable.load(path)
    if experiment.latency.table is None:
        _check_target(table, experiment, path)
    check_experiment_table(table, experiment)
    return table


def _check_target(table: LatencyTable, experiment: ExperimentConfig, path: Path) -> None:
    """Refuses this machine's own table where another device's latencies are what counts."""
    latency = experiment.latency
    if latency.target is not TargetDevice.OTHER_DEVICE or table.provenance.imported_from:
        return
    if not table.device.differences(DeviceFingerprint.detect(latency.device, runtime=latency.runtime)):
        raise LatencyTableError(
            f'latency.target = "{latency.target}", but {path} was measured on this machine. Name the other device\'s '
            "table in latency.table, import one (`spvit-search table import FILE.csv EXPERIMENT --force`), or set "
            f'latency.target = "{TargetDevice.THIS_DEVICE}".'
        )


def check_experiment_table(table: LatencyTable, experiment: ExperimentConfig) -> None:
    """Refuses a table of another model, selector or way of running, or of a device that is not meant.

    Package modes are not compared: beyond the tokens they add, which are priced, they cost 0.1 % of a block.

    Raises:
        LatencyTableError: names every field that differs.
    """
    latency = experiment.latency
    check_table(
        table,
        fingerprint=_fingerprint(latency),
        backbone=experiment.model.name,
        batch_size=latency.batch_size,
        dtype=latency.dtype,
        runtime=latency.runtime,
        num_threads=latency.num_threads,
        shape=experiment_shape(experiment),
    )
    check_selectors(table, experiment)


def check_selectors(table: LatencyTable, experiment: ExperimentConfig) -> None:
    """Refuses a table that does not price every selector that the experiment may have.

    Raises:
        LatencyTableError: names what is missing.
    """
    for kind in experiment.selector_kinds:
        table.selections_of(kind)
    check_head_weighting(table, experiment)


def _fingerprint(latency: LatencyConfig) -> DeviceFingerprint | None:
    """This device; None where latencies are another one's on purpose."""
    if latency.target is TargetDevice.OTHER_DEVICE:
        return None
    return DeviceFingerprint.detect(latency.device, runtime=latency.runtime)


def check_head_weighting(table: LatencyTable, experiment: ExperimentConfig) -> None:
    """Refuses a table whose selectors weigh their heads otherwise, where the experiment has any that do.

    Raises:
        LatencyTableError: names both ways.
    """
    measured, asked = table.selector.head_weighting, experiment.pruning.head_weighting
    if measured is not asked and not WEIGHTED.isdisjoint(experiment.selector_kinds):
        raise LatencyTableError(
            f'The latency table for {table.key.backbone} was measured with head_weighting = "{measured}", but the '
            f'experiment sets pruning.head_weighting = "{asked}". Measure it anew with `spvit-search profile '
            "EXPERIMENT`, or change pruning.head_weighting."
        )


def measure_study_table(experiment: ExperimentConfig, folder: Path, *, progress: Progress) -> LatencyTable:
    """Measures the experiment's backbone on this device; writes the table, its picture and its page to the folder.

    Raises:
        UsageError: what is in the folder was priced with the table that is there, or latencies are to
            be another device's.
        ConfigError: the backbone cannot be made, or this machine cannot run it as `[latency]` says.
        StorageError: the folder cannot be written.
    """
    if experiment.latency.target is TargetDevice.OTHER_DEVICE:
        raise UsageError(
            f'latency.target = "{TargetDevice.OTHER_DEVICE}" asks for latencies of another device, which cannot be '
            "measured here. Measure there (with --set latency.target=this_device) and name the file in latency.table, "
            "or import it: `spvit-search table import FILE.csv EXPERIMENT`."
        )
    if experiment.latency.table is not None:
        raise UsageError(
            f"latency.table names {experiment.latency.table}, by which this experiment is priced; a table measured now "
            "would never be used. Leave it out for this: --set latency.table="
        )
    if is_priced(folder):
        raise UsageError(
            f"What is in {folder} was priced with its latency table, so that cannot be measured anew. "
            "Give the new study another name: --set study.name=NAME."
        )
    from latency_tables.key import DType
    from latency_tables.measure import Effort, measure_table
    from latency_tables.table_file import check_can_write
    from spvit.factory import create_backbone

    check_can_write(folder / TABLE_FILE)
    latency, model = experiment.latency, experiment.model
    backbone = create_backbone(model.name, args=model.args, checkpoint=model.checkpoint, pretrained=model.pretrained)
    table = measure_table(
        backbone,
        name=model.name,
        batch_size=latency.batch_size,
        dtype=DType(latency.dtype),
        num_threads=latency.num_threads,
        device=latency.device,
        runtime=latency.runtime,
        selector=selector_options(experiment),
        other_selectors=experiment.selector_kinds,
        progress=progress,
        effort=Effort(precision=latency.precision_percent / 100.0, time_limit_s=latency.time_limit_s),
    )
    save_with_pictures(table, folder)
    return table


def save_with_pictures(table: LatencyTable, folder: Path) -> None:
    """Writes a study's own table, its picture and its page to the study's folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    from latency_tables.page import save_page
    from latency_tables.plots import save_plot

    table.save(folder / TABLE_FILE)
    save_plot(table, folder / PLOT_FILE)
    save_page(table, folder / PAGE_FILE)


def selector_options(experiment: ExperimentConfig) -> SelectorOptions:
    """The selector that a table of the experiment is made for."""
    pruning = experiment.pruning
    return SelectorOptions(kind=pruning.selector, head_weighting=pruning.head_weighting, package=pruning.package)


def experiment_shape(experiment: ExperimentConfig) -> BackboneShape:
    """The sizes of the experiment's backbone, read from the model itself without its weights.

    Raises:
        ConfigError: the backbone cannot be made.
    """
    from latency_tables.parts import shape_of
    from spvit.factory import create_backbone

    return shape_of(create_backbone(experiment.model.name, args=experiment.model.args))
