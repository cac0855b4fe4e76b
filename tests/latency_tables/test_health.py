from collections.abc import Callable
from dataclasses import replace

import pytest

from latency_tables.health import check_table, table_warnings
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError


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
    with pytest.raises(LatencyTableError, match=r"shape is .*depth=6.*depth=12"):
        check(table, shape=replace(table.shape, depth=12))


def test_other_levels_under_the_same_name_are_refused(leveled: LatencyTable) -> None:
    first, second = leveled.shape.levels
    wider = replace(leveled.shape, levels=(first, replace(second, embed_dim=256)))
    check(leveled, shape=leveled.shape)
    with pytest.raises(LatencyTableError, match=r"shape is .*embed_dim=128.*embed_dim=256"):
        check(leveled, shape=wider)


def test_a_table_of_an_older_protocol_is_refused(make_table: Callable[..., LatencyTable]) -> None:
    with pytest.raises(LatencyTableError, match="protocol_version is 0 in the table but 2 here"):
        check(make_table(protocol_version=0))


def test_only_bad_conditions_are_warned_of(make_table: Callable[..., LatencyTable], table: LatencyTable) -> None:
    busy = replace(table.conditions, reference_spread_percent=120.0, load_average=9.0)
    assert table_warnings(table) == ()
    assert "varied by 120 % (load average 9.0)" in table_warnings(make_table(conditions=busy))[0]
    assert "by more than 14 %" in table_warnings(make_table(p90_error_percent=14.0))[0]
