"""A thousand damaged tables: each is refused by name, or it is shown that the damage changes no prediction or no fact.

What a mutant may be when it loads, with its hash as it was: the very same table. With the hash made true again, so that
the checks of the content themselves are tried: a table that somebody could have measured. That is written out below as
plainly as possible (`assert_measurable`), apart from the code that is tested.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables.measurement import Measurement
from latency_tables.predict import predict_many
from latency_tables.table import LatencyTable
from latency_tables.table_document import content_sha256, to_document
from spvit.errors import LatencyTableError
from spvit.schedule import PruningSchedule

Document = dict[str, Any]
RATES = ((), (0.7,), (0.9, 0.5), (0.05,))
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 0.5, 1e-300, 1e300, 10**400, float("nan"), float("inf"), float("-inf"), -0.0, 3.0]
)
OTHERS = st.none() | st.booleans() | st.text(max_size=4) | st.just([]) | st.just({}) | NUMBERS
THOUSAND = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def trails(node: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to everything in a JSON document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*trail, name)
        yield from trails(child, (*trail, name))


def parent_of(document: Any, trail: tuple[Any, ...]) -> Any:
    for name in trail[:-1]:
        document = document[name]
    return document


def delete(draw: st.DrawFn, parent: Any, name: Any) -> None:
    del parent[name]


def rename(draw: st.DrawFn, parent: Any, name: Any) -> None:
    if isinstance(parent, dict):
        parent[draw(st.sampled_from([f"{name}_", str(name).upper(), "x"]))] = parent.pop(name)


def duplicate(draw: st.DrawFn, parent: Any, name: Any) -> None:
    if isinstance(parent, list):
        parent.insert(draw(st.integers(0, len(parent))), copy.deepcopy(parent[name]))
    else:
        parent[f"{name}2"] = copy.deepcopy(parent[name])


def replace_value(draw: st.DrawFn, parent: Any, name: Any) -> None:
    parent[name] = draw(OTHERS)


def perturb(draw: st.DrawFn, parent: Any, name: Any) -> None:
    value = parent[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        factor = draw(st.sampled_from([-1.0, 0.0, 1e-6, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 10.0, 1000.0, 1e12]))
        parent[name] = type(value)(value * factor)


def reorder(draw: st.DrawFn, parent: Any, name: Any) -> None:
    if isinstance(parent[name], list):
        parent[name] = draw(st.permutations(parent[name]))


def swap(draw: st.DrawFn, parent: Any, name: Any) -> None:
    """Exchanges two values of one object or list: rows that changed places, columns that were mixed up."""
    other = draw(st.sampled_from(list(parent) if isinstance(parent, dict) else range(len(parent))))
    parent[name], parent[other] = parent[other], parent[name]


MUTATIONS = [delete, rename, duplicate, replace_value, perturb, perturb, reorder, swap]


@st.composite
def mutants(draw: st.DrawFn, document: Document) -> Document:
    """The document with one to three things wrong."""
    mutant = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        if places := list(trails(mutant)):
            trail = draw(st.sampled_from(places))
            draw(st.sampled_from(MUTATIONS))(draw, parent_of(mutant, trail), trail[-1])
    return mutant


def written(path: Path, document: Document, *, rehash: bool) -> Path:
    if rehash:
        document = document | {"sha256": content_sha256(document)}
    path.write_text(json.dumps(document))
    return path


def loaded_or_refused(path: Path) -> LatencyTable | None:
    """The table; None where it was refused by an error that names the file."""
    try:
        return LatencyTable.load(path)
    except LatencyTableError as error:
        message = str(error)
    assert message.startswith(f"Latency table {path}: ")
    assert len(message) < 2000
    return None


@pytest.fixture(params=["plain", "leveled"])
def original(request: pytest.FixtureRequest, table: LatencyTable, leveled: LatencyTable) -> LatencyTable:
    return table if request.param == "plain" else leveled


@given(data=st.data())
@THOUSAND
def test_a_mutated_document_is_refused_or_the_same_table(
    table: LatencyTable, tmp_path: Path, data: st.DataObject
) -> None:
    document = to_document(table)
    mutant = data.draw(mutants({"sha256": content_sha256(document), **document}))
    loaded = loaded_or_refused(written(tmp_path / "mutant.json", mutant, rehash=False))
    assert loaded is None or (loaded == table and loaded.sha256 == table.sha256)


@given(data=st.data())
@THOUSAND
def test_damaged_text_is_refused_or_the_same_table(table: LatencyTable, tmp_path: Path, data: st.DataObject) -> None:
    document = to_document(table)
    text = json.dumps({"sha256": content_sha256(document), **document}, indent=2)
    path = tmp_path / "mutant.json"
    path.write_bytes(data.draw(damaged(text.encode())))
    loaded = loaded_or_refused(path)
    assert loaded is None or (loaded == table and loaded.sha256 == table.sha256)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut short, with a part missing, with foreign bytes, or with flipped bits."""
    start = draw(st.integers(0, len(whole) - 1))
    end = draw(st.integers(start, min(len(whole), start + 60)))
    flipped = bytes(byte ^ draw(st.integers(0, 255)) for byte in whole[start : min(end, start + 3)])
    return draw(
        st.sampled_from([whole[:start], whole[:start] + whole[end:], whole[:start] + flipped + whole[start + 3 :]])
        | st.binary(max_size=4).map(lambda foreign: whole[:start] + foreign + whole[end:])
    )


@given(data=st.data())
@THOUSAND
def test_mutated_content_behind_a_true_hash_is_refused_or_could_have_been_measured(
    original: LatencyTable, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "mutant.json"
    loaded = loaded_or_refused(written(path, data.draw(mutants(to_document(original))), rehash=True))
    if loaded is None or loaded == original:
        return
    assert_measurable(loaded)
    assert LatencyTable.load(written(path, to_document(loaded), rehash=True)) == loaded


def assert_measurable(table: LatencyTable) -> None:
    """Every number is one that a measurement can give, and every network has a price."""
    for curve, most in curves_of(table):
        counts = list(curve)
        assert counts == sorted(set(counts))
        assert most <= counts[-1] <= 2 * most
        assert counts[0] <= max(1, min(table.shape.smallest_selection, most - 1))
        for row in curve.values():
            assert_row(row, table.reference.median_ms)
        for fewer, more in combinations(curve, 2):
            assert curve[more].high_ms >= curve[fewer].low_ms / 2.0
    for row in (table.stem, table.head, table.dense, table.reference):
        assert_row(row, table.reference.median_ms)
    plans = [
        PruningSchedule.from_keep_rates(rates, range(1, 1 + len(rates))).plan(table.geometry)
        for rates in RATES
        if len(rates) < table.geometry.depth
    ]
    for estimate in predict_many(table, plans):
        assert 0.0 <= estimate.low_ms <= estimate.mean_ms <= estimate.high_ms < 1e15
        assert math.isfinite(estimate.high_ms)


def assert_row(row: Measurement, reference_ms: float) -> None:
    assert 0.0 < row.low_ms <= row.median_ms <= row.high_ms <= 1e9
    assert row.median_ms / 20.0 <= row.low_ms * (1 + 1e-9)
    assert row.high_ms <= 20.0 * row.median_ms + 0.05 * reference_ms
    assert row.num_samples >= 1


def curves_of(table: LatencyTable) -> Iterator[tuple[Any, int]]:
    for rows, level in zip(table.levels, table.geometry.levels, strict=True):
        most = table.shape.num_prefix_tokens + level.num_patches
        for curve in (rows.blocks, rows.selections, *rows.other_selections.values()):
            if curve:
                yield curve, most
    if table.last_blocks:
        yield table.last_blocks, table.geometry.num_tokens


SINGLE_CHANGES: list[tuple[str, Callable[[Document], object]]] = [
    (
        r"blocks: num_tokens=50 \(21 ms\) cannot be that much slower than num_tokens=42",
        lambda d: d["blocks"][-1].update(low_ms=20.0, median_ms=21.0, high_ms=22.0),
    ),
    (
        r"blocks: num_tokens=50 \(0.5 ms\) cannot be faster than num_tokens=42",
        lambda d: d["blocks"][-1].update(low_ms=0.4, median_ms=0.5, high_ms=0.6),
    ),
    (
        r"blocks row 3 \(num_tokens=18\), column low_ms: must be at least a 20th of median_ms",
        lambda d: d["blocks"][2].update(low_ms=1e-9),
    ),
    (
        r"selections row 4 \(num_tokens=50\), column high_ms: must be at most 20 times",
        lambda d: d["selections"][3].update(high_ms=90.0),
    ),
    (r"stem, column high_ms: must be at most 1e\+09 ms", lambda d: d["stem"].update(high_ms=1e10)),
    (
        r"dense, column median_ms: must be near the sum of its parts \(13.1 ms for stem, 6 blocks and head",
        lambda d: d["dense"].update(low_ms=124.0, median_ms=125.0, high_ms=126.0),
    ),
    (r"end_to_end, column scale: must lie in 0.2 to 5, but is 7", lambda d: d["end_to_end"].update(scale=7.0)),
    (
        r"end_to_end, column p90_error_percent: must be at most 1000",
        lambda d: d["end_to_end"].update(p90_error_percent=1e9, max_error_percent=1e9),
    ),
    (
        r"end_to_end, column max_error_percent: must be at most 1000, but is 1e\+300",
        lambda d: d["end_to_end"].update(max_error_percent=1e300),
    ),
    (r"end_to_end: At least one model must be fitted", lambda d: d["end_to_end"].update(num_checked=0)),
    (r"blocks row 2 has unknown columns: 'note'", lambda d: d["blocks"][1].update(note=1)),
    (r"the file has unknown columns: 'blocks_, x'", lambda d: d.update(x=1, blocks_=[])),
    (r"key lacks the column dtype", lambda d: d["key"].update(Dtype=d["key"].pop("dtype"))),
    (r"key has unknown columns: 'Dtype'", lambda d: d["key"].update(Dtype="float32")),
    (r"blocks must reach from num_tokens=2", lambda d: d["blocks"][-1].update(num_tokens=10**400)),
    (r"provenance: Only an imported table assumes", lambda d: d.update(provenance=provenance(assumed=["x"]))),
    (r"provenance: rescaled_by and rescaled_from belong", lambda d: d.update(provenance=provenance(rescaled_by=2.0))),
    (r"provenance, column rescaled_by: must be above 0", lambda d: d.update(provenance=provenance(rescaled_by=-2.0))),
]


def provenance(**changes: object) -> Document:
    return {"imported_from": "", "assumed": [], "rescaled_by": 1.0, "rescaled_from": "", **changes}


@pytest.mark.parametrize(("message", "change"), SINGLE_CHANGES)
def test_what_contradicts_itself_is_refused_by_its_place(
    table: LatencyTable, tmp_path: Path, message: str, change: Callable[[Document], object]
) -> None:
    document = json.loads(json.dumps(to_document(table)))
    change(document)
    path = written(tmp_path / "table.json", document, rehash=True)
    with pytest.raises(LatencyTableError, match=rf"Latency table .*table.json: {message}.*spvit-search profile"):
        LatencyTable.load(path)
