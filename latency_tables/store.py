"""Where latency tables are kept and found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from latency_tables.key import TableKey
from latency_tables.table import LatencyTable

SHIPPED_TABLES = Path(__file__).parent / "data"
"""Tables that come with the package."""


def shipped_tables() -> list[LatencyTable]:
    """The tables that come with the package, by model, batch size, number format and device."""
    tables = map(LatencyTable.load, SHIPPED_TABLES.glob("*.json"))
    return sorted(tables, key=lambda t: (t.shape.embed_dim, t.key.backbone, t.key.batch_size, t.key.file_stem))


def table_path(directory: Path, key: TableKey) -> Path:
    """The file of a key's table in a folder; different keys have different files."""
    return directory / f"{key.file_stem}.json"


def find_table(directories: Iterable[Path], key: TableKey) -> LatencyTable | None:
    """The key's table from the first folder that has one, or nothing.

    Raises:
        LatencyTableError: a file is there but damaged; it is not passed over in silence.
    """
    for directory in directories:
        path = table_path(directory, key)
        if path.exists() and (table := LatencyTable.load(path)).key == key:
            return table
    return None
