"""The latency table that a search leans on, looked at once more before it does: is the device still as fast?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.device import DeviceFingerprint
from latency_tables.health import device_warnings, table_warnings
from latency_tables.key import Runtime
from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.latency_options import OnDrift, TargetDevice
from search.profiling import check_experiment_table, study_table
from search.shipped_tables import needed_shipped_table, place_shipped_table
from search.table_files import is_priced, required_table
from spvit.errors import LatencyTableError

if TYPE_CHECKING:
    from latency_tables.drift import Drift

_TIME_LIMIT_S = 5.0

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedTable:
    """A table that may price a search, and what its user should know of it."""

    table: LatencyTable
    notes: tuple[str, ...] = ()


def checked_table(experiment: ExperimentConfig, folder: Path, *, may_measure: bool, progress: Progress) -> CheckedTable:
    """The table of `study_table`, or a shipped one; where it is not new, three of its points are measured again.

    A device that drifted has the table rescaled as a whole, is warned of or refused, as `latency.on_drift` says. What
    was priced already keeps its prices, so there it is warned of.

    Raises:
        LatencyTableError: see `study_table`; or the device drifted and `latency.on_drift` is `refuse`.
    """
    if (shipped := needed_shipped_table(experiment, folder)) is not None:
        return _checked_shipped(shipped, experiment, folder, progress)
    is_new = required_table(experiment.latency.table, folder, may_measure=may_measure) is None
    table = study_table(experiment, folder, may_measure=may_measure, progress=progress)
    if is_new:
        return CheckedTable(table=table, notes=table_warnings(table))
    checked = _checked(table, experiment, progress, may_rescale=not is_priced(folder))
    return CheckedTable(table=checked.table, notes=(*table_warnings(table), *checked.notes))


def _checked_shipped(
    table: LatencyTable, experiment: ExperimentConfig, folder: Path, progress: Progress
) -> CheckedTable:
    """A shipped table becomes the study's own once nothing is to be said against it."""
    check_experiment_table(table, experiment)
    checked = _checked(table, experiment, progress, may_rescale=True)
    note = place_shipped_table(table, folder)
    return CheckedTable(table=checked.table, notes=(note, *table_warnings(table), *checked.notes))


def _checked(
    table: LatencyTable, experiment: ExperimentConfig, progress: Progress, *, may_rescale: bool
) -> CheckedTable:
    if (reason := why_not_measured(table, experiment)) is not None:
        return CheckedTable(table=table, notes=(reason,))
    lesser = known_differences(table, experiment)
    progress(0.0, "three points of the latency table again, to see whether they still hold")
    settled = settle(table, measure_drift(table, experiment), experiment, may_rescale=may_rescale)
    return CheckedTable(table=settled.table, notes=(*lesser, *settled.notes))


def known_differences(table: LatencyTable, experiment: ExperimentConfig) -> tuple[str, ...]:
    """Sentences about what changed on this device since the table was measured; none of another device."""
    if experiment.latency.target is TargetDevice.OTHER_DEVICE:
        return ()
    latency = experiment.latency
    return device_warnings(table, DeviceFingerprint.detect(latency.device, runtime=latency.runtime))


def why_not_measured(table: LatencyTable, experiment: ExperimentConfig) -> str | None:
    """A sentence where the table cannot be measured again here, else nothing."""
    if experiment.latency.target is TargetDevice.OTHER_DEVICE:
        return (
            f"Latencies are those of {table.device.id}, not of this machine (latency.target = "
            f'"{TargetDevice.OTHER_DEVICE}"); whether they still hold there was not checked.'
        )
    if table.key.runtime is Runtime.COMPILED:
        return "Whether the latency table still holds was not checked: compiling takes longer than measuring anew."
    return None


def measure_drift(table: LatencyTable, experiment: ExperimentConfig) -> Drift:
    """Measures three points again, with random weights: speed does not depend on them."""
    from latency_tables.drift import sentinel
    from spvit.factory import create_backbone

    backbone = create_backbone(experiment.model.name, args=experiment.model.args)
    return sentinel(table, backbone, device=experiment.latency.device, time_limit_s=_TIME_LIMIT_S)


def settle(table: LatencyTable, drift: Drift, experiment: ExperimentConfig, *, may_rescale: bool) -> CheckedTable:
    """What a drift leads to, by `latency.on_drift` and `latency.drift_tolerance`.

    Raises:
        LatencyTableError: it is to be refused.
    """
    warning = _warning(drift, experiment)
    if warning is None:
        return CheckedTable(table=table)
    if experiment.latency.on_drift is OnDrift.WARN:
        return CheckedTable(table=table, notes=(warning,))
    if not may_rescale:
        return CheckedTable(table=table, notes=(f"{warning} What was priced already keeps its prices.",))
    ratio = drift.ratio.median
    note = f"{warning} Until then its times are multiplied by {ratio:.3f}, so that a budget in milliseconds is kept."
    return CheckedTable(table=table.rescaled(ratio), notes=(note,))


def what_drift_means(drift: Drift, experiment: ExperimentConfig) -> tuple[str, ...]:
    """What a search that begins now would do about a drift, in a sentence, for a look that prices nothing.

    Raises:
        LatencyTableError: it is to be refused.
    """
    warning = _warning(drift, experiment)
    if warning is None:
        return ()
    if experiment.latency.on_drift is OnDrift.WARN:
        return (warning,)
    return (f"{warning} A search that begins now multiplies the table's times by {drift.ratio.median:.3f}.",)


def _warning(drift: Drift, experiment: ExperimentConfig) -> str | None:
    policy = experiment.latency.on_drift
    warning = drift.warning(tolerance=experiment.latency.drift_tolerance)
    if warning is not None and policy is OnDrift.REFUSE:
        raise LatencyTableError(f'{warning} It is refused, as latency.on_drift = "{policy}".')
    return warning
