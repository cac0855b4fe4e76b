"""Latency tables from CSV files, for devices that cannot run this program: a phone, an FPGA, an NPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from latency_tables.conditions import Conditions
from latency_tables.csv_assumed import Completed, complete
from latency_tables.csv_parts import CsvParts, parts_of
from latency_tables.csv_rows import UNKNOWN_SPREAD, CsvForm, read_rows
from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape, DType, Runtime, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.provenance import Provenance
from latency_tables.table import EndToEndCheck, LatencyTable
from spvit.errors import LatencyTableError

P90_ERROR_PERCENT = {CsvForm.PARTS: 10.0, CsvForm.KEEP_RATIOS: 15.0}
"""How far one complete model in ten is assumed to be off: times that are not taken as ratios gave sums that were 6 to
20 % off, and leaving out selectors, stem and head made it 6 to 11 % more."""

_REMEDY = "The columns are described in docs/latency_import.md."


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportTarget:
    """What the times are for; a file of times alone does not say it."""

    device_name: str
    backbone: str
    shape: BackboneShape
    batch_size: int
    selector: SelectorOptions
    dtype: DType = DType.FLOAT32
    runtime: Runtime = Runtime.EAGER
    num_threads: int = 1

    def __post_init__(self) -> None:
        if not self.device_name.strip():
            raise ValueError("A table needs the name of its device.")


def import_table(path: Path, target: ImportTarget, *, dense_ms: float | None = None) -> LatencyTable:
    """The table that a file makes, its gaps filled with assumptions that `provenance` tells.

    Args:
        path: a CSV file in either form.
        target: what its times are for.
        dense_ms: the whole dense model's latency, where it is known and the file does not tell.

    Raises:
        LatencyTableError: a cell, a curve or the whole cannot be; names the file, the line and the column.
    """
    try:
        return _table(path, target, dense_ms)
    except (LatencyTableError, ValueError) as error:  # times near the ends of what floats hold
        raise LatencyTableError(f"{path}: {error} {_REMEDY}") from error


def _table(path: Path, target: ImportTarget, dense_ms: float | None) -> LatencyTable:
    if len(target.shape.geometry.levels) > 1:
        raise LatencyTableError(f"{target.backbone} pools its patches; tables of such models cannot be imported.")
    rows = read_rows(path)
    told = _with_dense(parts_of(rows, target.shape), dense_ms)
    parts = complete(told, target.shape, extends_blocks=rows.form is CsvForm.KEEP_RATIOS)
    device = _device(target.device_name)
    selections = dict(parts.selections)
    return LatencyTable(
        key=_key(target, device),
        device=device,
        selector=target.selector,
        stem=parts.stem,
        head=parts.head,
        dense=parts.dense,
        reference=parts.blocks[target.shape.geometry.num_tokens],
        blocks=parts.blocks,
        selections=selections.pop(target.selector.kind),
        last_blocks=told.last_blocks,
        other_selections=selections,
        end_to_end=_unchecked(rows.form, parts),
        conditions=Conditions(
            created_at=datetime.now(UTC), load_average=0.0, cpu_pressure_percent=None, reference_spread_percent=0.0
        ),
        provenance=Provenance(imported_from=path.name, assumed=parts.assumed),
    )


def _with_dense(parts: CsvParts, dense_ms: float | None) -> CsvParts:
    if dense_ms is None:
        return parts
    if parts.dense is not None:
        raise LatencyTableError("the file tells the dense model's latency, so it cannot be given beside it.")
    low, high = dense_ms * (1.0 - UNKNOWN_SPREAD), dense_ms * (1.0 + UNKNOWN_SPREAD)
    return replace(parts, dense=Measurement(median_ms=dense_ms, low_ms=low, high_ms=high, num_samples=1))


def _key(target: ImportTarget, device: DeviceFingerprint) -> TableKey:
    return TableKey(
        device_id=device.id,
        backbone=target.backbone,
        shape=target.shape,
        batch_size=target.batch_size,
        dtype=target.dtype,
        runtime=target.runtime,
        num_threads=target.num_threads,
    )


def _device(name: str) -> DeviceFingerprint:
    """Nothing but a name is known of it, so it is never taken for this machine."""
    return DeviceFingerprint(
        cpu_model=name.strip(), isa_flags=(), logical_cores=0, usable_cores=0, torch_version="", system="imported"
    )


def _unchecked(form: CsvForm, parts: Completed) -> EndToEndCheck:
    """No complete model was measured: the errors are assumed, larger where parts are assumed too.

    Of a largest error nothing can be said: it is that of nine in ten, so that no interval is drawn from it.
    """
    worst = CsvForm.KEEP_RATIOS if parts.assumed else form
    p90 = P90_ERROR_PERCENT[worst]
    return EndToEndCheck(
        scale=1.0,
        num_fitted=0,
        num_checked=0,
        median_error_percent=p90 / 2.0,
        p90_error_percent=p90,
        max_error_percent=p90,
    )
