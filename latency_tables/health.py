"""Whether a table may price models here and now. No torch: a foreign table is refused in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape
from latency_tables.table import PROTOCOL_VERSION, LatencyTable
from spvit.errors import LatencyTableError

_MAX_P90_ERROR_PERCENT = 10.0
_MAX_REFERENCE_SPREAD_PERCENT = 50.0
_ON_PURPOSE = ', or set latency.target = "other_device" to search for the table\'s device on this one'


def check_table(
    table: LatencyTable,
    *,
    fingerprint: DeviceFingerprint | None,
    backbone: str,
    batch_size: int,
    dtype: str = "float32",
    runtime: str = "eager",
    num_threads: int = 1,
    shape: BackboneShape | None = None,
) -> None:
    """Refuses a table that was measured for something else.

    Args:
        table: the table.
        fingerprint: this device; None where the table is for another one on purpose, whose runtime is its own as well.
        backbone: timm name of the model to be priced.
        batch_size: images per forward pass.
        dtype: number format, as in `DType`.
        runtime: what executes the model, as in `Runtime`.
        num_threads: CPU threads.
        shape: sizes of the model to be priced; without them its name is trusted.

    Raises:
        LatencyTableError: names every field that differs, both values, and what to do.
    """
    key, differing_devices = table.key, () if fingerprint is None else table.device.differences(fingerprint)
    pairs: list[tuple[str, object, object]] = [
        *_devices(table, fingerprint),
        ("backbone", key.backbone, backbone),
        ("batch_size", key.batch_size, batch_size),
        ("dtype", str(key.dtype), str(dtype)),
        ("runtime", str(key.runtime), str(key.runtime if fingerprint is None else runtime)),
        ("num_threads", key.num_threads, num_threads),
        *_sizes(key.shape, shape or key.shape),
        ("protocol_version", table.protocol_version, PROTOCOL_VERSION),
    ]
    differing = [
        f"{name} is {theirs!r} in the table but {here!r} here" for name, theirs, here in pairs if theirs != here
    ]
    if differing:
        on_purpose = _ON_PURPOSE if differing_devices else ""
        raise LatencyTableError(
            f"The latency table for {key.backbone} was measured for something else: {'; '.join(differing)}. "
            f"Measure one for this case with `spvit-search profile EXPERIMENT`{on_purpose}."
        )


def _devices(table: LatencyTable, here: DeviceFingerprint | None) -> Iterator[tuple[str, object, object]]:
    """What differs between the table's device and this one; of an imported table nothing is known but a name."""
    if here is None:
        return
    differing = table.device.differences(here)
    if differing and table.provenance.imported_from:
        yield "device", table.device.cpu_model, here.cpu_model
        return
    for name in differing:
        yield f"device.{name}", getattr(table.device, name), getattr(here, name)


def _sizes(theirs: BackboneShape, here: BackboneShape) -> Iterator[tuple[str, object, object]]:
    """Each size of a backbone by its name, those of its levels too."""
    yield from _fields("shape", theirs, here)
    if len(theirs.levels) != len(here.levels):
        yield "the number of shape.levels", max(1, len(theirs.levels)), max(1, len(here.levels))
        return
    for number, (level, other) in enumerate(zip(theirs.levels, here.levels, strict=True)):
        yield from _fields(f"shape.levels[{number}]", level, other)


def _fields(name: str, theirs: Any, here: Any) -> Iterator[tuple[str, object, object]]:
    for field in fields(theirs):
        if field.name != "levels":
            yield f"{name}.{field.name}", getattr(theirs, field.name), getattr(here, field.name)


def table_warnings(table: LatencyTable) -> tuple[str, ...]:
    """Sentences about a table that may be used but is less sure than one that was measured in peace."""
    warnings = list(_provenance_warnings(table))
    error, spread = table.end_to_end.p90_error_percent, table.conditions.reference_spread_percent
    if error > _MAX_P90_ERROR_PERCENT and not table.end_to_end.is_assumed:
        warnings.append(
            f"One in ten complete models was off the table's prediction by more than {error:.0f} %; "
            "measure again on a quieter machine for a tighter budget."
        )
    if spread > _MAX_REFERENCE_SPREAD_PERCENT:
        warnings.append(
            f"The machine was busy while the table was measured: one and the same block varied by {spread:.0f} % "
            f"(load average {table.conditions.load_average:.1f})."
        )
    return (*warnings, *table.conditions.warnings(table.key.num_threads, table.device.logical_cores))


def device_warnings(table: LatencyTable, fingerprint: DeviceFingerprint) -> tuple[str, ...]:
    """Sentences about what changed on this device since the table was measured, such as a driver."""
    return tuple(
        f"{name} was {getattr(table.device, name)} when the latency table was measured and is "
        f"{getattr(fingerprint, name)} now; `spvit-search table check TABLE EXPERIMENT --measure` tells whether times "
        "are still the same."
        for name in table.device.lesser_differences(fingerprint)
    )


def _provenance_warnings(table: LatencyTable) -> Iterator[str]:
    origin = table.provenance
    if origin.imported_from:
        yield (
            f"The table was imported from {origin.imported_from} and never checked against complete models: its "
            f"intervals assume that one in ten is off by more than {table.end_to_end.p90_error_percent:.0f} %."
        )
    if origin.assumed:
        yield f"{origin.imported_from} does not tell everything; assumed: {'; '.join(origin.assumed)}."
    if origin.rescaled_by != 1.0:
        yield (
            f"All times were multiplied by {origin.rescaled_by:.3f}, as three of them had changed by that since they "
            "were measured."
        )
