from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from latency_tables.chart import draw_chart
from latency_tables.page import curves_of, render_page, save_page
from latency_tables.table import LatencyTable
from spvit.errors import StorageError


class Marks(HTMLParser):
    """The texts of all marks, and every address that the page names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "data-text":
                self.texts.append(value or "")
            if name in {"src", "href"}:
                self.addresses.append(value or "")


@pytest.mark.parametrize("kind", ["table", "leveled"])
def test_every_row_has_a_mark_that_tells_it(request: pytest.FixtureRequest, kind: str) -> None:
    table: LatencyTable = request.getfixturevalue(kind)
    marks = Marks(render_page(table))
    rows = [row for level in range(len(table.levels)) for c in curves_of(table, level).values() for row in c.values()]
    assert len(marks.texts) == len(rows)
    assert all(any(f"{row.median_ms:.4g} ms" in text for text in marks.texts) for row in rows)
    assert not marks.addresses


def test_the_page_says_how_it_was_measured(table: LatencyTable) -> None:
    page = render_page(table)
    assert all(fact in page for fact in (table.key.device_id, table.sha256, "1.0 % median", "2026-01-02 03:04 UTC"))


def test_what_comes_from_the_table_is_escaped(table: LatencyTable) -> None:
    hostile = replace(table, key=replace(table.key, backbone="<script>alert(1)</script>"))
    assert "<script>alert" not in render_page(hostile)


def test_a_page_that_cannot_be_written_is_a_storage_error(table: LatencyTable, tmp_path: Path) -> None:
    save_page(table, tmp_path / "pages" / "table.html")
    assert (tmp_path / "pages" / "table.html").read_text(encoding="utf-8") == render_page(table)
    with pytest.raises(StorageError, match="Cannot write the page"):
        save_page(table, tmp_path / "pages" / "table.html" / "table.html")


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one curve"):
        draw_chart({"nothing": {}}, "empty")
