import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables.table import LatencyTable
from latency_tables.table_document import content_sha256, to_document
from latency_tables.table_file import check_can_write
from spvit.errors import LatencyTableError, StorageError

Document = dict[str, Any]


def rewrite(path: Path, change: Callable[[Document], object], *, rehash: bool = True) -> None:
    """Changes a stored table; with a true hash, so that the check behind the hash has to find it."""
    document = json.loads(path.read_text())
    change(document)
    if rehash:
        document["sha256"] = content_sha256(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def path(table: LatencyTable, tmp_path: Path) -> Path:
    table.save(tmp_path / "tables" / "table.json")
    return tmp_path / "tables" / "table.json"


def test_a_saved_table_loads_equal(table: LatencyTable, path: Path) -> None:
    loaded = LatencyTable.load(path)
    assert loaded == table
    assert loaded.sha256 == table.sha256 == json.loads(path.read_text())["sha256"]


def test_saving_leaves_nothing_else_behind(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


def test_a_table_that_cannot_be_written_is_a_storage_error(table: LatencyTable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Cannot write the latency table .*/file/table.json"):
        table.save(tmp_path / "file" / "table.json")
    with pytest.raises(StorageError, match=r"Cannot write the latency table .*/file/table.json"):
        check_can_write(tmp_path / "file" / "table.json")
    with pytest.raises(StorageError, match="Is a directory"):
        check_can_write(tmp_path)


def test_asking_whether_a_table_can_be_written_leaves_its_folder_empty(tmp_path: Path) -> None:
    check_can_write(tmp_path / "new" / "table.json")
    assert list((tmp_path / "new").iterdir()) == []


NAN, INF = float("nan"), float("inf")


def put(*trail: str | int, **values: object) -> Callable[[Document], object]:
    """A change that sets columns of the row at the end of the trail."""

    def change(document: Any) -> None:
        for name in trail:
            document = document[name]
        document.update(values)

    return change


CHANGES: list[tuple[str, Callable[[Document], object]]] = [
    (r"blocks row 2, column median_ms: must be a finite number, but is nan", put("blocks", 1, median_ms=NAN)),
    (r"blocks row 2, column high_ms: must be a finite number, but is inf", put("blocks", 1, high_ms=INF)),
    (r"blocks row 1, column low_ms: must be above 0, but is -1.0", put("blocks", 0, low_ms=-1)),
    (r"stem, column median_ms: must be above 0, but is 0.0", put("stem", median_ms=0)),
    (r"blocks row 1, column median_ms: must be a finite number, but is '3'", put("blocks", 0, median_ms="3")),
    (r"blocks row 1, column median_ms: must be a finite number, but is True", put("blocks", 0, median_ms=True)),
    (r"blocks row 1, column median_ms: must be a finite number", put("blocks", 0, median_ms=10**400)),
    (r"blocks row 1, column num_tokens: must be a whole number", put("blocks", 0, num_tokens=2.5)),
    (r"blocks row 3, column num_tokens: 2 appears twice", put("blocks", 2, num_tokens=2)),
    (r"blocks must be in the order of num_tokens", lambda d: d["blocks"].reverse()),
    (r"blocks row 2 must hold a JSON object, but holds 7", lambda d: d["blocks"].__setitem__(1, 7)),
    (r"blocks row 2: A measurement needs low_ms <= median_ms", put("blocks", 1, low_ms=9.0)),
    (r"blocks must reach from num_tokens=2 to num_tokens=50", lambda d: d["blocks"].pop()),
    (r"selections needs at least 2 token counts, but has 0", lambda d: d["selections"].clear()),
    (r"last_blocks must reach from num_tokens=2", lambda d: d["last_blocks"].pop()),
    (r"selections of light needs at least 2 token counts", lambda d: d["other_selections"]["light"].clear()),
    (r"other_selections: 'heavy' is not a valid SelectorKind", lambda d: d["other_selections"].update(heavy=[])),
    (r"light row 1, column low_ms: must be above 0", lambda d: d["other_selections"]["light"][0].update(low_ms=0)),
    (r"selections of multi_head are there twice", lambda d: d.update(other_selections={"multi_head": d["selections"]})),
    (r"the file lacks the column unit", lambda d: d.pop("unit")),
    (r"unit must be ms, but is 's'", lambda d: d.update(unit="s")),
    (r"schema_version must be 3, but is 4", lambda d: d.update(schema_version=4)),
    (r"key: 'float8' is not a valid DType", put("key", dtype="float8")),
    (r"conditions: Invalid isoformat string", put("conditions", created_at="yesterday")),
    (r"conditions, column pinned_cores: must be a list of whole", put("conditions", pinned_cores=[True])),
    (r"conditions: At least one core must be usable", put("conditions", usable_cores=0)),
    (r"conditions: Load, pressure, spread and time must be", put("conditions", preparation_s=-1.0)),
    (r"end_to_end, column scale: must be above 0", put("end_to_end", scale=0)),
    (r"device lacks the column cpu_model", lambda d: d["device"].pop("cpu_model")),
]


@pytest.mark.parametrize(("message", "change"), CHANGES)
def test_impossible_content_is_refused_by_its_place(
    path: Path, message: str, change: Callable[[Document], object]
) -> None:
    rewrite(path, change)
    with pytest.raises(
        LatencyTableError, match=rf"Latency table .*table.json: {message}.*spvit-search profile EXPERIMENT"
    ):
        LatencyTable.load(path)


def test_a_table_of_several_levels_loads_equal(leveled: LatencyTable, tmp_path: Path) -> None:
    leveled.save(tmp_path / "table.json")
    loaded = LatencyTable.load(tmp_path / "table.json")
    assert loaded == leveled
    assert loaded.sha256 == leveled.sha256


def test_a_table_of_one_level_is_the_file_that_it_was_before_there_were_levels(path: Path) -> None:
    document = json.loads(path.read_text())
    assert document["sha256"] == "62d737e4ac5fedb3010625680bc77cb9131d8434ded2327418ebdb9f2d428d79"
    assert not {"pooling", "deeper_levels"} & document.keys()
    assert "levels" not in document["key"]["shape"]


LEVEL_CHANGES: list[tuple[str, Callable[[Document], object]]] = [
    (r"level 2: blocks row 1, column low_ms: must be above 0", put("deeper_levels", 0, "blocks", 0, low_ms=0)),
    (r"level 2: blocks row 3, column num_tokens: 7 appears", put("deeper_levels", 0, "blocks", 2, num_tokens=7)),
    (r"level 2: blocks must reach from num_tokens=2 to num_tokens=13", lambda d: d["deeper_levels"][0]["blocks"].pop()),
    (r"level 2: selections must reach from num_tokens=3", put("deeper_levels", 0, "selections", 0, num_tokens=4)),
    (r"level 2: selections needs at least 2 token counts", lambda d: d["deeper_levels"][0].update(selections=[])),
    (r"level 2: other_selections must be those of the .* \(light\)", put("deeper_levels", 0, other_selections={})),
    (r"deeper_levels row 1 must hold a JSON object, but holds 3", lambda d: d.update(deeper_levels=[3])),
    (r"deeper_levels must hold 1 levels, .* but holds 0", lambda d: d.pop("deeper_levels")),
    (
        r"deeper_levels must hold 0 levels",
        lambda d: [d["key"]["shape"].pop("levels"), d["key"]["shape"].update(depth=6)],
    ),
    (r"pooling must be there exactly where", lambda d: d.pop("pooling")),
    (r"pooling, column median_ms: must be above 0", put("pooling", median_ms=0)),
    (r"last_blocks must be empty where the backbone has several", lambda d: d.update(last_blocks=d["blocks"])),
    (r"levels row 2: Every size of a level must be", put("key", "shape", "levels", 1, num_heads=0)),
    (r"shape: The blocks of all levels must add up", put("key", "shape", "levels", 1, num_blocks=3)),
    (r"shape: A backbone's patches are those of its first level", put("key", "shape", num_patches=50)),
    (r"shape: A backbone's width and heads are those of its first", put("key", "shape", embed_dim=32)),
    (r"shape: A backbone of one level needs no levels", lambda d: d["key"]["shape"]["levels"].pop()),
]


@pytest.mark.parametrize(("message", "change"), LEVEL_CHANGES)
def test_impossible_levels_are_refused_by_their_place(
    leveled: LatencyTable, tmp_path: Path, message: str, change: Callable[[Document], object]
) -> None:
    leveled.save(tmp_path / "table.json")
    rewrite(tmp_path / "table.json", change)
    with pytest.raises(LatencyTableError, match=rf"Latency table .*table.json: {message}.*spvit-search profile"):
        LatencyTable.load(tmp_path / "table.json")


def test_changed_content_is_refused_by_its_hash(path: Path) -> None:
    rewrite(path, put("blocks", 6, median_ms=2.11), rehash=False)
    with pytest.raises(LatencyTableError, match="its content was changed: sha256 should be"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it cannot be read"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "must hold a JSON object, but holds"),
        (b'{"unit": "ms", "unit": "s"}', "the keys unit appear twice"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "table.json").write_bytes(content)
    with pytest.raises(LatencyTableError, match=message):
        LatencyTable.load(tmp_path / "table.json")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LatencyTableError, match=r"absent.json: there is no such file. Measure"):
        LatencyTable.load(tmp_path / "absent.json")
    with pytest.raises(LatencyTableError, match="it cannot be read"):
        LatencyTable.load(tmp_path)


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_refused_or_change_nothing(table: LatencyTable, path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    damaged = path.with_name("damaged.json")
    damaged.write_bytes(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:])
    try:
        loaded = LatencyTable.load(damaged)
    except LatencyTableError:
        return
    assert loaded == table


def columns(node: Any, trail: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Trails to everything in a JSON document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [deeper for name, child in children for deeper in [(*trail, name), *columns(child, (*trail, name))]]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)


@given(data=st.data(), value=values)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_is_refused_or_a_sound_table(
    table: LatencyTable, leveled: LatencyTable, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    """Behind a true hash the structure itself is checked: no other error, and what loads can be stored again."""
    document = to_document(data.draw(st.sampled_from([table, leveled])))
    *trail, last = data.draw(st.sampled_from(columns(document)))
    node = document
    for name in trail:
        node = node[name]
    node[last] = value
    try:
        document["sha256"] = content_sha256(document)
    except ValueError:
        return
    mutant = tmp_path / "mutant.json"
    mutant.write_text(json.dumps(document))
    try:
        loaded = LatencyTable.load(mutant)
    except LatencyTableError:
        return
    loaded.save(mutant)
    assert LatencyTable.load(mutant) == loaded
