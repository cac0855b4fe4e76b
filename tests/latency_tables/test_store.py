from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from latency_tables.key import DType
from latency_tables.store import SHIPPED_TABLES, find_table, table_path
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError


def test_a_stored_table_is_found_by_its_key(table: LatencyTable, tmp_path: Path) -> None:
    table.save(table_path(tmp_path / "second", table.key))
    assert find_table([tmp_path / "first", tmp_path / "second"], table.key) == table


def test_the_first_folder_wins(make_table: Callable[..., LatencyTable], tmp_path: Path) -> None:
    first, second = make_table(scale=1.1), make_table(scale=1.2)
    first.save(table_path(tmp_path / "first", first.key))
    second.save(table_path(tmp_path / "second", second.key))
    assert find_table([tmp_path / "first", tmp_path / "second"], first.key) == first


def test_any_other_key_has_another_file(table: LatencyTable, tmp_path: Path) -> None:
    others = [
        replace(table.key, batch_size=1),
        replace(table.key, dtype=DType.BFLOAT16),
        replace(table.key, num_threads=2),
        replace(table.key, backbone="vit-test"),
        replace(table.key, shape=replace(table.shape, num_classes=100)),
    ]
    assert len({table_path(tmp_path, key) for key in [table.key, *others]}) == 6
    table.save(table_path(tmp_path, table.key))
    assert [find_table([tmp_path], key) for key in others] == [None] * 5


def test_a_plain_models_file_is_called_as_before_there_were_levels(table: LatencyTable, leveled: LatencyTable) -> None:
    assert table.key.file_stem.endswith("-87f7665a")
    first, second = leveled.shape.levels
    other = replace(leveled.key, shape=replace(leveled.shape, levels=(first, replace(second, num_heads=4))))
    assert len({key.file_stem for key in (table.key, leveled.key, other)}) == 3


def test_a_renamed_table_is_not_mistaken(table: LatencyTable, tmp_path: Path) -> None:
    other = replace(table.key, batch_size=1)
    table.save(table_path(tmp_path, other))
    assert find_table([tmp_path], other) is None


def test_a_damaged_table_is_not_passed_over(table: LatencyTable, tmp_path: Path) -> None:
    table_path(tmp_path, table.key).write_text("{}")
    with pytest.raises(LatencyTableError, match="lacks the column schema_version"):
        find_table([tmp_path], table.key)


def test_a_file_name_needs_no_quoting(table: LatencyTable, tmp_path: Path) -> None:
    name = table_path(tmp_path, replace(table.key, backbone="hub/../vit b")).name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def test_every_shipped_table_is_sound_and_in_its_place() -> None:
    for path in SHIPPED_TABLES.glob("*.json"):
        assert table_path(SHIPPED_TABLES, LatencyTable.load(path).key) == path
