"""A table whose curves are known functions, so that every prediction can be worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from latency_tables.conditions import Conditions
from latency_tables.curves import LevelRows
from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape, LevelShape, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.table import EndToEndCheck, LatencyTable
from spvit.options import SelectorKind


def _row(ms: float) -> Measurement:
    return Measurement(median_ms=ms, low_ms=0.98 * ms, high_ms=1.03 * ms, num_samples=24)


def _make_table(*, scale: float = 1.02, p90_error_percent: float = 3.0, **changes: object) -> LatencyTable:
    device = DeviceFingerprint(
        cpu_model="Testing CPU",
        isa_flags=("avx2",),
        logical_cores=2,
        usable_cores=2,
        torch_version="2.13.0",
        system="Linux",
    )
    shape = BackboneShape(
        depth=6,
        num_patches=49,
        num_prefix_tokens=1,
        embed_dim=64,
        num_heads=4,
        mlp_ratio=4.0,
        num_patch_inputs=16,
        num_classes=10,
    )
    fields: dict[str, object] = {
        "key": TableKey(device_id=device.id, backbone="vit_test", shape=shape, batch_size=8),
        "device": device,
        "selector": SelectorOptions(),
        "stem": _row(0.4),
        "head": _row(0.1),
        "dense": _row(12.5),
        "reference": _row(2.0),
        "blocks": {n: _row(0.1 + 0.03 * n + 0.0002 * n * n) for n in (2, 10, 18, 26, 34, 42, 50)},
        "selections": {n: _row(0.02 + 0.002 * n) for n in (3, 18, 34, 50)},
        "last_blocks": {n: _row(0.05 + 0.001 * n) for n in (2, 26, 50)},
        "other_selections": {SelectorKind.LIGHT: {n: _row(0.005 + 0.0003 * n) for n in (3, 20, 50)}},
        "end_to_end": EndToEndCheck(
            scale=scale,
            num_fitted=7,
            num_checked=7,
            median_error_percent=min(1.0, p90_error_percent),
            p90_error_percent=p90_error_percent,
            max_error_percent=max(4.0, p90_error_percent),
        ),
        "conditions": Conditions(
            created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
            load_average=0.1,
            cpu_pressure_percent=None,
            reference_spread_percent=9.0,
        ),
    }
    return LatencyTable(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make_row() -> Callable[[float], Measurement]:
    return _row


@pytest.fixture
def make_table() -> Callable[..., LatencyTable]:
    return _make_table


def _make_leveled() -> LatencyTable:
    """Of a backbone with a second level: 2 further blocks, twice as wide, on a quarter of the patches."""
    plain = _make_table()
    levels = (
        LevelShape(num_blocks=6, num_patches=49, embed_dim=64, num_heads=4),
        LevelShape(num_blocks=2, num_patches=12, embed_dim=128, num_heads=8),
    )
    deeper = LevelRows(
        blocks={n: _row(0.3 + 0.07 * n) for n in (2, 7, 13)},
        selections={n: _row(0.04 + 0.004 * n) for n in (3, 13)},
        other_selections={SelectorKind.LIGHT: {n: _row(0.01 + 0.0005 * n) for n in (3, 13)}},
    )
    return _make_table(
        key=replace(plain.key, shape=replace(plain.shape, depth=8, levels=levels)),
        last_blocks={},
        pooling=_row(0.6),
        deeper_levels=(deeper,),
    )


@pytest.fixture
def leveled() -> LatencyTable:
    return _make_leveled()


@pytest.fixture
def table() -> LatencyTable:
    return _make_table()
