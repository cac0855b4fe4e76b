from pathlib import Path

import pytest
from PIL import Image

from latency_tables.plots import save_plot
from latency_tables.table import LatencyTable
from spvit.errors import StorageError


@pytest.mark.parametrize("kind", ["table", "leveled"])
def test_the_plot_is_a_picture(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    save_plot(request.getfixturevalue(kind), tmp_path / "plots" / "table.png")
    with Image.open(tmp_path / "plots" / "table.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10


def test_a_plot_that_cannot_be_written_is_a_storage_error(table: LatencyTable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write the plot"):
        save_plot(table, tmp_path / "file" / "table.png")
