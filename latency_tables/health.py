"""Whether a table may price models here and now. No torch: a foreign table is refused in milliseconds."""

from __future__ import annotations

from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape
from latency_tables.table import PROTOCOL_VERSION, LatencyTable
from spvit.errors import LatencyTableError

_MAX_P90_ERROR_PERCENT = 10.0
_MAX_REFERENCE_SPREAD_PERCENT = 50.0


def check_table(
    table: LatencyTable,
    *,
    fingerprint: DeviceFingerprint,
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
        fingerprint: this device.
        backbone: timm name of the model to be priced.
        batch_size: images per forward pass.
        dtype: number format, as in `DType`.
        runtime: what executes the model, as in `Runtime`.
        num_threads: CPU threads.
        shape: sizes of the model to be priced; without them its name is trusted.

    Raises:
        LatencyTableError: names every field that differs, both values, and how to measure anew.
    """
    key = table.key
    pairs: list[tuple[str, object, object]] = [
        (f"device.{name}", getattr(table.device, name), getattr(fingerprint, name))
        for name in table.device.differences(fingerprint)
    ]
    pairs += [
        ("backbone", key.backbone, backbone),
        ("batch_size", key.batch_size, batch_size),
        ("dtype", str(key.dtype), str(dtype)),
        ("runtime", str(key.runtime), str(runtime)),
        ("num_threads", key.num_threads, num_threads),
        ("shape", key.shape, shape or key.shape),
        ("protocol_version", table.protocol_version, PROTOCOL_VERSION),
    ]
    differing = [
        f"{name} is {theirs!r} in the table but {here!r} here" for name, theirs, here in pairs if theirs != here
    ]
    if differing:
        raise LatencyTableError(
            f"The latency table for {key.backbone} was measured for something else: {'; '.join(differing)}. "
            "Measure one for this case with `spvit-search profile EXPERIMENT`."
        )


def table_warnings(table: LatencyTable) -> tuple[str, ...]:
    """Sentences about a table that may be used but was measured under bad conditions."""
    warnings = []
    error, spread = table.end_to_end.p90_error_percent, table.conditions.reference_spread_percent
    if error > _MAX_P90_ERROR_PERCENT:
        warnings.append(
            f"One in ten complete models was off the table's prediction by more than {error:.0f} %; "
            "measure again on a quieter machine for a tighter budget."
        )
    if spread > _MAX_REFERENCE_SPREAD_PERCENT:
        warnings.append(
            f"The machine was busy while the table was measured: one and the same block varied by {spread:.0f} % "
            f"(load average {table.conditions.load_average:.1f})."
        )
    return tuple(warnings)
