from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables.csv_assumed import SELECTION_SHARES
from latency_tables.csv_import import ImportTarget, import_table
from latency_tables.csv_rows import read_rows
from latency_tables.device import DeviceFingerprint
from latency_tables.health import check_table, table_warnings
from latency_tables.key import SelectorOptions
from latency_tables.predict import predict, predict_dense
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.schedule import PackageMode, PruningSchedule

PARTS = """\
# one image, measured on the board
part,num_tokens,median_ms,low_ms,high_ms,num_samples
stem,,0.4,0.39,0.41,20
head,,0.1,0.09,0.11,20
dense,,12.5,12.4,12.6,20
block,50,2.0,1.9,2.1,20
block,2,0.16,0.15,0.17,20
block,26,1.0,0.9,1.1,20
last_block,2,0.05,0.04,0.06,20
last_block,50,0.1,0.09,0.11,20
selection:multi_head,3,0.03,0.02,0.04,20
selection:multi_head,50,0.12,0.11,0.13,20
"""
RATIOS = "keep_ratio,block_ms\n1.0,2.0\n0.9,1.8\n0.8,1.62\n0.7,1.4\n0.6,1.25\n0.5,1.05\n"
HALF = PruningSchedule.from_keep_rates([0.5], [2])

Import = Callable[..., LatencyTable]


@pytest.fixture
def target(table: LatencyTable) -> ImportTarget:
    return ImportTarget(
        device_name="Board 7", backbone="vit_test", shape=table.shape, batch_size=8, selector=SelectorOptions()
    )


@pytest.fixture
def imported(target: ImportTarget, tmp_path: Path) -> Import:
    def make(text: str, dense_ms: float | None = None) -> LatencyTable:
        (tmp_path / "board.csv").write_text(text)
        return import_table(tmp_path / "board.csv", target, dense_ms=dense_ms)

    return make


def test_rows_of_parts_are_the_tables_own(imported: Import) -> None:
    table = imported(PARTS)
    assert {count: row.median_ms for count, row in table.blocks.items()} == {2: 0.16, 26: 1.0, 50: 2.0}
    assert (table.blocks[26].low_ms, table.blocks[26].high_ms, table.blocks[26].num_samples) == (0.9, 1.1, 20)
    assert (table.stem.median_ms, table.head.median_ms, table.dense.median_ms) == (0.4, 0.1, 12.5)
    assert {count: row.median_ms for count, row in table.selections.items()} == {3: 0.03, 50: 0.12}
    assert tuple(table.last_blocks) == (2, 50)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_keep_ratios_of_blocks_in_proportion_to_tokens_or_beyond_are_accepted(
    target: ImportTarget, tmp_path: Path, power: float
) -> None:
    lines = [f"{ratio},{2.0 * ratio**power}" for ratio in (1.0, 0.9, 0.7, 0.5)]
    (tmp_path / "board.csv").write_text("\n".join(["keep_ratio,block_ms", *lines]))
    shape = replace(target.shape, num_patches=196)
    blocks = import_table(tmp_path / "board.csv", replace(target, shape=shape)).blocks
    fewest, told = list(blocks.values())[:2]
    assert next(iter(blocks)) == 2
    assert fewest.low_ms <= told.median_ms * 2 / 99 <= fewest.median_ms < told.median_ms
    assert fewest.high_ms == told.high_ms


def test_a_schedule_is_priced_by_the_sum_of_its_rows(imported: Import) -> None:
    table = imported(PARTS)
    plan = HALF.plan(table.geometry, PackageMode.NONE)
    assert plan.block_tokens == (50, 50, 25, 25, 25, 25)
    block_25 = 0.16 + (25 - 2) / (26 - 2) * (1.0 - 0.16)
    last = 0.05 + (25 - 2) / (50 - 2) * 0.05
    assert predict(table, plan).mean_ms == pytest.approx(0.4 + 0.1 + 2 * 2.0 + 3 * block_25 + last + 0.12)


@pytest.mark.parametrize(("unit", "factor"), [("us", 1000.0), ("s", 0.001)])
def test_units_are_those_of_the_columns(imported: Import, unit: str, factor: float) -> None:
    lines = [line.split(",") for line in RATIOS.splitlines()[1:]]
    text = "\n".join([f"keep_ratio,block_{unit}", *(f"{ratio},{float(ms) * factor}" for ratio, ms in lines)])
    assert predict_dense(imported(text)).mean_ms == pytest.approx(predict_dense(imported(RATIOS)).mean_ms)


def test_keep_ratios_are_token_counts(imported: Import) -> None:
    table = imported(RATIOS)
    assert list(table.blocks) == [2, 25, 30, 35, 40, 45, 50]  # 1 + round(ratio x 49), and the fewest tokens
    assert table.blocks[25].median_ms == 1.05
    assert (table.blocks[25].low_ms, table.blocks[25].high_ms) == (pytest.approx(0.945), pytest.approx(1.155))


def test_what_keep_ratios_do_not_tell_is_assumed_and_said(imported: Import) -> None:
    table = imported(RATIOS)
    assert table.provenance.assumed == (
        "blocks with fewer than 25 tokens",
        "selections of multi_head, per_head, single_head, light, class_attention",
        "stem and head",
        "the dense model, as the sum of its parts",
    )
    assert set(table.selector_kinds) == set(SelectorKind) == set(SELECTION_SHARES)
    assert table.blocks[2].median_ms < 1.05
    assert table.blocks[2].high_ms == table.blocks[25].high_ms  # no fewer tokens take longer than more
    assert table.selections[50].median_ms == pytest.approx(0.10 * 2.0)
    assert (table.stem.median_ms + table.head.median_ms) == pytest.approx(0.03 * 12.0)
    assert table.dense.median_ms == pytest.approx(12.36)


def test_a_given_dense_latency_tells_stem_and_head(imported: Import) -> None:
    table = imported(RATIOS, dense_ms=13.0)
    assert table.dense.median_ms == 13.0
    assert table.stem.median_ms + table.head.median_ms == pytest.approx(1.0)
    assert "stem and head, as what the dense model takes beside its blocks" in table.provenance.assumed


def test_a_part_that_the_file_tells_is_not_assumed(imported: Import) -> None:
    table = imported(PARTS.replace("head,,0.1,0.09,0.11,20\n", ""))
    assert table.stem.median_ms == 0.4
    assert table.head.median_ms == pytest.approx(0.1)  # 12.5 - 6 x 2.0 - 0.4
    assert "head, as what the dense model takes beside its blocks" in table.provenance.assumed


def test_less_that_is_known_means_wider_intervals(imported: Import) -> None:
    told = PARTS + "".join(f"selection:{kind},{n},0.05,0.04,0.06,9\n" for kind in (
        "per_head", "single_head", "class_attention", "light") for n in (3, 50))  # fmt: skip
    widths = []
    for table in (imported(told), imported(PARTS), imported(RATIOS)):
        estimate = predict(table, HALF.plan(table.geometry))
        widths.append((estimate.high_ms - estimate.low_ms) / estimate.mean_ms)
    assert all(narrower < wider for narrower, wider in pairwise(widths))
    assert widths[0] > 2 * 0.10  # of a model that was checked it would be the error found


def test_an_imported_table_is_never_taken_for_checked_or_for_this_device(imported: Import) -> None:
    table = imported(PARTS)
    assert table.end_to_end.is_assumed
    assert "imported from board.csv and never checked against complete models" in table_warnings(table)[0]
    assert "assumed: selections of per_head" in table_warnings(table)[1]
    asked = {"backbone": "vit_test", "batch_size": 8, "shape": table.shape}
    with pytest.raises(LatencyTableError, match=r"device is 'Board 7'.*latency.target = \"other_device\""):
        check_table(table, fingerprint=DeviceFingerprint.detect(), **asked)  # type: ignore[arg-type]
    check_table(table, fingerprint=None, **asked)  # type: ignore[arg-type]


def test_an_imported_table_can_be_stored(imported: Import, tmp_path: Path) -> None:
    table = imported(RATIOS)
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == table


BLOCKS = "part,num_tokens,median_ms\nblock,2,0.2\nblock,50,2\n"
REFUSED = [
    ("", "the file is empty"),
    ("part,num_tokens,median_ms\n", "there is a header but no rows"),
    (BLOCKS.replace("median_ms", "median"), "the column median has no unit. Name it median_ms, median_us or median_s"),
    (RATIOS.replace("block_ms", "block"), "the column block has no unit. Name it block_ms"),
    (BLOCKS.replace("median_ms", "median_min"), "the column median_min has no unit"),
    ("part,num_tokens\nblock,2\n", "the column median has no unit"),
    ("part,num_tokens,median_ms,low_us,high_us\n", "the columns median_ms, low_us, high_us must have one unit"),
    ("part,num_tokens,median_ms,low_ms\n", "the header must have both ends of the interval"),
    ("block,2,0.16\n", "line 1: the names of the columns were required, but got 'block,2,0.16'"),
    ("part,median_ms\n", "the header lacks the column num_tokens; the columns are part, num_tokens, median_ms"),
    ("part,num_tokens,median_ms,note\n", "the header has an unknown column 'note'"),
    ("part,part,num_tokens,median_ms\n", "the columns part appear twice"),
    (BLOCKS + "block,9,x\n", "line 4, column median_ms: must be a finite number, but is 'x'"),
    (BLOCKS + "block,9,nan\n", "line 4, column median_ms: must be a finite number, but is 'nan'"),
    (BLOCKS + "block,9,-1\n", "line 4, column median_ms: must be a number above 0, but is '-1'"),
    (BLOCKS + "block,9,\n", "line 4, column median_ms: must be a number above 0, but is ''"),
    (BLOCKS + "block,9,3,5\n", "line 4: has 4 cells, but there are 3 columns"),
    (BLOCKS + "block,2.5,1\n", "line 4, column num_tokens: must be a whole number of at least 1, but is '2.5'"),
    (BLOCKS + "block,,1\n", "line 4, column num_tokens: must be a whole number"),
    (BLOCKS + "block,50,1\n", "line 4: block at 50 tokens is there twice"),
    (BLOCKS + "stem,3,1\n", "line 4, column num_tokens: must be empty for the part stem, but is '3'"),
    (BLOCKS + "neck,3,1\n", "line 4, column part: must be one of stem, head, dense, block, last_block, selection:"),
    (BLOCKS + 'block,"9,1\n', "line 4: it is not CSV"),
    (BLOCKS.replace("block,2,0.2\n", ""), "blocks needs at least 2 token counts"),
    (BLOCKS.replace("block,2,", "block,5,"), "blocks must reach from num_tokens=2 to num_tokens=50"),
    (BLOCKS.replace("block,50,", "block,45,"), "there is no row of a block at 50 tokens, as in the dense model"),
    (BLOCKS + "block,40,9\n", "blocks: num_tokens=50 .* cannot be faster than num_tokens=40"),
    (BLOCKS + "dense,,6\n", "the dense model takes 6 ms, but its 6 blocks alone 12 ms"),
    (PARTS.replace("block,26,1.0,0.9", "block,26,1.0,1.05"), "line 8: A measurement needs low_ms <= median_ms"),
    ("part,num_tokens,median_ms\nstem,,1\n", "there is no row of part block"),
    (RATIOS + "1.2,3\n", "line 8, column keep_ratio: must be above 0 and at most 1, but is '1.2'"),
    (RATIOS + "0.49,1.0\n", "line 8: keep_ratio 0.49 means 25 tokens, which is there twice"),
    (RATIOS.replace("1.0,2.0\n", ""), "there is no row for keep_ratio 1, the block of the dense model"),
    ("keep_ratio,block_ms\n1.0,2.0\n", "at least two keep ratios are needed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_files_that_cannot_be_are_refused_by_line_and_column(imported: Import, text: str, message: str) -> None:
    with pytest.raises(LatencyTableError, match=rf"board.csv: {message}.*docs/latency_import.md"):
        imported(text)


def test_what_is_no_file_and_what_is_known_twice_is_refused(imported: Import, target: ImportTarget) -> None:
    with pytest.raises(LatencyTableError, match=r"nowhere.csv: there is no such file"):
        import_table(Path("nowhere.csv"), target)
    with pytest.raises(LatencyTableError, match="the file tells the dense model's latency"):
        imported(PARTS, dense_ms=12.0)


def test_a_backbone_that_pools_is_refused(leveled: LatencyTable, target: ImportTarget, tmp_path: Path) -> None:
    pooled = ImportTarget(device_name="x", backbone="pit", shape=leveled.shape, batch_size=1, selector=target.selector)
    with pytest.raises(LatencyTableError, match="pit pools its patches; tables of such models cannot be imported"):
        import_table(tmp_path / "board.csv", pooled)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_refused_by_name_or_a_table(imported: Import, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([PARTS, RATIOS]))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 9)))
    foreign = data.draw(st.text(st.sampled_from("0123456789.,-e\n\"'xµ\0;"), max_size=4))
    try:
        table = imported(whole[:start] + foreign + whole[end:])
    except LatencyTableError as error:
        message = str(error)
    else:
        assert 0.0 < predict(table, HALF.plan(table.geometry)).mean_ms < 1e12
        return
    assert "board.csv: " in message


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_named(tmp_path: Path, separator: str, name: str) -> None:
    path = tmp_path / "times.csv"
    path.write_text("# from a spreadsheet\n" + RATIOS.replace(".", ",").replace(",block", f"{separator}block"))
    with pytest.raises(LatencyTableError, match=f"line 2: columns are separated by {name}, but must be by commas"):
        read_rows(path)
