"""The latency table of a study: the one that its experiment names, the one in its folder, or a new measurement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.device import DeviceFingerprint
from latency_tables.health import check_table
from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.study_files import STUDY_FILE
from spvit.errors import LatencyTableError, UsageError
from spvit.options import SelectorKind

if TYPE_CHECKING:
    from latency_tables.key import BackboneShape

TABLE_FILE = "latency_table.json"
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
    path = experiment.latency.table or folder / TABLE_FILE
    if experiment.latency.table is None and not path.exists():
        if (folder / STUDY_FILE).exists():
            raise LatencyTableError(
                f"The latency table that study {folder.name!r} was searched with, {path}, is gone. Put it back from a "
                "copy; a new one would price trials differently, so it needs a study of another name (study.name)."
            )
        if not may_measure:
            raise LatencyTableError(
                f"No latency table: {path} does not exist and the experiment sets no latency.table. "
                "Measure one with `spvit-search profile EXPERIMENT`, or leave out --no-profile."
            )
        return measure_study_table(experiment, folder, progress=progress)
    table = LatencyTable.load(path)
    check_experiment_table(table, experiment)
    return table


def check_experiment_table(table: LatencyTable, experiment: ExperimentConfig) -> None:
    """Refuses a table of another device, model, selector or way of running.

    Package modes are not compared: beyond the tokens they add, which are priced, they cost 0.1 % of a block.

    Raises:
        LatencyTableError: names every field that differs.
    """
    latency = experiment.latency
    check_table(
        table,
        fingerprint=DeviceFingerprint.detect(latency.device),
        backbone=experiment.model.name,
        batch_size=latency.batch_size,
        dtype=latency.dtype,
        runtime=latency.runtime,
        num_threads=latency.num_threads,
        shape=_shape(experiment),
    )
    for kind in experiment.selector_kinds:
        table.selections_of(kind)
    _check_head_weighting(table, experiment)


def _check_head_weighting(table: LatencyTable, experiment: ExperimentConfig) -> None:
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
        UsageError: the folder's study has trials that were priced with the table that is there.
        ConfigError: the backbone cannot be made, or this machine cannot run it as `[latency]` says.
        StorageError: the folder cannot be written.
    """
    if (folder / STUDY_FILE).exists():
        raise UsageError(
            f"The trials of the study in {folder} were priced with its latency table, so it cannot be measured anew. "
            "Give the new study another name: --set study.name=NAME."
        )
    from latency_tables.key import DType, SelectorOptions
    from latency_tables.measure import Effort, measure_table
    from latency_tables.page import save_page
    from latency_tables.plots import save_plot
    from spvit.factory import create_backbone

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
        selector=SelectorOptions(
            kind=experiment.pruning.selector,
            head_weighting=experiment.pruning.head_weighting,
            package=experiment.pruning.package,
        ),
        other_selectors=experiment.selector_kinds,
        progress=progress,
        effort=Effort(precision=latency.precision_percent / 100.0, time_limit_s=latency.time_limit_s),
    )
    table.save(folder / TABLE_FILE)
    save_plot(table, folder / PLOT_FILE)
    save_page(table, folder / PAGE_FILE)
    return table


def _shape(experiment: ExperimentConfig) -> BackboneShape:
    from latency_tables.parts import shape_of
    from spvit.factory import create_backbone

    return shape_of(create_backbone(experiment.model.name, args=experiment.model.args))
