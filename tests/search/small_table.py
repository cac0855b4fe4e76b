"""A latency table of this device with made-up times, for a backbone with 17 tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from latency_tables.conditions import Conditions
from latency_tables.device import DeviceFingerprint
from latency_tables.key import SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.parts import shape_of
from latency_tables.table import EndToEndCheck, LatencyTable


def row(ms: float) -> Measurement:
    return Measurement(median_ms=ms, low_ms=0.98 * ms, high_ms=1.02 * ms, num_samples=9)


def small_table(backbone: Any, name: str, **changes: Any) -> LatencyTable:
    """Blocks cost 0.1 ms a token and selections a tenth of that, for batches of 4."""
    device = DeviceFingerprint.detect()
    fields: dict[str, Any] = {
        "key": TableKey(device_id=device.id, backbone=name, shape=shape_of(backbone), batch_size=4),
        "device": device,
        "selector": SelectorOptions(),
        "stem": row(0.4),
        "head": row(0.1),
        "dense": row(5.6),
        "reference": row(2.0),
        "blocks": {n: row(0.1 * n) for n in (2, 10, 17)},
        "selections": {n: row(0.01 * n) for n in (3, 10, 17)},
        "end_to_end": EndToEndCheck(
            scale=1.0,
            num_fitted=5,
            num_checked=5,
            median_error_percent=1.0,
            p90_error_percent=1.0,
            max_error_percent=1.0,
        ),
        "conditions": Conditions(
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            load_average=0.1,
            cpu_pressure_percent=None,
            reference_spread_percent=5.0,
        ),
    }
    return LatencyTable(**fields | changes)
