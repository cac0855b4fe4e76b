from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from latency_tables.device import DeviceFingerprint
from latency_tables.health import check_table, device_warnings, table_warnings
from latency_tables.predict import predict
from latency_tables.provenance import Provenance
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.schedule import PruningSchedule


def check(table: LatencyTable, **changes: object) -> None:
    asked = {"fingerprint": table.device, "backbone": "vit_test", "batch_size": 8, **changes}
    check_table(table, **asked)  # type: ignore[arg-type]


def test_the_right_table_is_accepted(table: LatencyTable) -> None:
    check(table, dtype="float32", runtime="eager", num_threads=1, shape=table.shape)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"backbone": "vit_other"}, "backbone is 'vit_test' in the table but 'vit_other' here"),
        ({"batch_size": 1}, "batch_size is 8 in the table but 1 here"),
        ({"dtype": "bfloat16"}, "dtype is 'float32' in the table but 'bfloat16' here"),
        ({"runtime": "compiled"}, "runtime is 'eager' in the table but 'compiled' here"),
        ({"num_threads": 2}, "num_threads is 1 in the table but 2 here"),
    ],
)
def test_a_table_for_something_else_is_refused(table: LatencyTable, asked: dict[str, object], message: str) -> None:
    with pytest.raises(LatencyTableError, match=f"{message}.*spvit-search profile EXPERIMENT"):
        check(table, **asked)


def test_a_foreign_device_is_refused_field_by_field(table: LatencyTable) -> None:
    here = replace(table.device, cpu_model="My CPU", torch_version="3.0")
    with pytest.raises(
        LatencyTableError, match=r"device.cpu_model is 'Testing CPU' .* 'My CPU' here; device.torch_version"
    ):
        check(table, fingerprint=here)


def test_another_shape_under_the_same_name_is_refused(table: LatencyTable) -> None:
    with pytest.raises(LatencyTableError, match=r": shape\.depth is 6 in the table but 12 here\. "):
        check(table, shape=replace(table.shape, depth=12))


def test_other_levels_under_the_same_name_are_refused(leveled: LatencyTable) -> None:
    first, second = leveled.shape.levels
    wider = replace(leveled.shape, levels=(first, replace(second, embed_dim=256)))
    check(leveled, shape=leveled.shape)
    with pytest.raises(LatencyTableError, match=r": shape\.levels\[1\]\.embed_dim is 128 in the table but 256 here\. "):
        check(leveled, shape=wider)


def test_an_imported_table_is_refused_by_the_name_of_its_device(make_table: Callable[..., LatencyTable]) -> None:
    board = DeviceFingerprint(
        cpu_model="Board 7", isa_flags=(), logical_cores=0, usable_cores=0, torch_version="", system="imported"
    )
    imported = replace(make_table(), device=board, provenance=Provenance(imported_from="board.csv"))
    here = replace(board, cpu_model="My CPU", isa_flags=("avx2",), logical_cores=4, system="Linux x86_64")
    with pytest.raises(LatencyTableError) as refused:
        check(imported, fingerprint=here)
    assert "else: device is 'Board 7' in the table but 'My CPU' here. Measure" in str(refused.value)
    assert "other_device" in str(refused.value)


def test_a_table_of_an_older_protocol_is_refused(make_table: Callable[..., LatencyTable]) -> None:
    with pytest.raises(LatencyTableError, match="protocol_version is 0 in the table but 2 here"):
        check(make_table(protocol_version=0))


def test_only_bad_conditions_are_warned_of(make_table: Callable[..., LatencyTable], table: LatencyTable) -> None:
    busy = replace(table.conditions, reference_spread_percent=120.0, load_average=9.0)
    assert table_warnings(table) == ()
    assert "varied by 120 % (load average 9.0)" in table_warnings(make_table(conditions=busy))[0]
    assert "by more than 14 %" in table_warnings(make_table(p90_error_percent=14.0))[0]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"torch_version": "2.13.1"}, "torch_version"),
        ({"gpu_driver": "600.1"}, "gpu_driver"),
        ({"timm_version": "1.0.32"}, "timm_version"),
        ({"runtime_version": "1.33.0"}, "runtime_version"),
    ],
)
def test_an_update_on_the_same_device_is_warned_of(table: LatencyTable, changes: dict[str, str], name: str) -> None:
    versions = {"gpu_driver": "580.2", "timm_version": "1.0.31", "runtime_version": "1.32.0"}
    measured = replace(table, device=replace(table.device, **versions))
    now = replace(measured.device, **changes)
    check(measured, fingerprint=now)
    (warning,) = device_warnings(measured, now)
    assert warning.startswith(
        f"{name} was {getattr(measured.device, name)} when the latency table was measured and is "
    )
    assert device_warnings(measured, measured.device) == ()
    assert measured.device.id == now.id


def test_a_version_that_is_not_known_is_not_compared(table: LatencyTable) -> None:
    assert device_warnings(table, replace(table.device, timm_version="1.0.31", gpu_driver="580.2")) == ()


@pytest.mark.parametrize("changes", [{"torch_version": "2.14.0"}, {"gpu_name": "H100"}, {"isa_flags": ("avx512f",)}])
def test_another_device_has_another_id_and_is_refused(table: LatencyTable, changes: dict[str, object]) -> None:
    here = replace(table.device, **changes)  # type: ignore[arg-type]
    assert here.id != table.device.id
    with pytest.raises(LatencyTableError, match=rf"device.{next(iter(changes))} is .*latency.target"):
        check(table, fingerprint=here)


def test_on_purpose_another_device_and_its_runtime_are_accepted_but_no_other_model(table: LatencyTable) -> None:
    check(table, fingerprint=None, runtime="compiled")
    with pytest.raises(LatencyTableError, match="backbone is 'vit_test' in the table but 'vit_other' here"):
        check(table, fingerprint=None, backbone="vit_other")


def test_the_runtimes_version_counts_where_it_is_a_package() -> None:
    here = DeviceFingerprint.detect()
    assert here.timm_version
    assert here.runtime_version == ""


@pytest.mark.parametrize("ratio", [3.0, 0.4])
def test_a_rescaled_table_prices_everything_by_the_same_factor(leveled: LatencyTable, ratio: float) -> None:
    rescaled = leveled.rescaled(ratio)
    plans = [
        PruningSchedule.from_keep_rates(rates, [1, 7]).plan(leveled.geometry) for rates in ([0.7, 0.5], [0.9, 0.1])
    ]
    for plan in (*plans, PruningSchedule().plan(leveled.geometry)):
        before, after = predict(leveled, plan), predict(rescaled, plan)
        assert after.mean_ms == pytest.approx(ratio * before.mean_ms)
        assert (after.low_ms, after.high_ms) == pytest.approx((ratio * before.low_ms, ratio * before.high_ms))
    assert rescaled.provenance == Provenance(rescaled_by=ratio, rescaled_from=leveled.sha256)
    assert f"All times were multiplied by {ratio:.3f}" in table_warnings(rescaled)[0]


def test_a_rescaled_table_is_stored_and_never_taken_for_the_measured_one(table: LatencyTable, tmp_path: Path) -> None:
    rescaled = table.rescaled(1.2)
    rescaled.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == rescaled
    assert rescaled.sha256 != table.sha256
    assert table.rescaled(1.0) == table


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_no_table_is_rescaled_by_what_is_no_ratio(table: LatencyTable, ratio: float) -> None:
    with pytest.raises(ValueError, match="rescaled by a finite number above 0"):
        table.rescaled(ratio)
