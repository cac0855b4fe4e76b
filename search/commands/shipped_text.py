"""The tables that come with the package, as documents for programs and as text for readers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latency_tables.store import SHIPPED_TABLES, table_path
from latency_tables.table import LatencyTable
from search.commands.output import columns

HEADINGS = ["model", "batch", "format", "runtime", "threads", "device", "dense, ms", "p90 error, %"]


def shipped_documents(tables: Sequence[LatencyTable], here: str) -> list[dict[str, Any]]:
    """One document for each table; `here` is the id of this device."""
    return [
        {
            "backbone": table.key.backbone,
            "batch_size": table.key.batch_size,
            "dtype": table.key.dtype,
            "runtime": table.key.runtime,
            "num_threads": table.key.num_threads,
            "device": table.key.device_id,
            "is_this_device": table.key.device_id == here,
            "dense_ms": table.dense.median_ms,
            "p90_error_percent": table.end_to_end.p90_error_percent,
            "table": _path(table),
        }
        for table in tables
    ]


def shipped_text(documents: Sequence[dict[str, Any]], here: str) -> str:
    """The same for a reader."""
    if not documents:
        return "No table comes with this installation; `spvit-search profile EXPERIMENT` measures one."
    num_here = sum(document["is_this_device"] for document in documents)
    return "\n".join(
        [columns([HEADINGS, *map(_cells, documents)]), "", f"{num_here} of them are for this device, {here}"]
    )


def _path(table: LatencyTable) -> Path:
    return table_path(SHIPPED_TABLES, table.key)


def _cells(document: dict[str, Any]) -> list[str]:
    plain = ("backbone", "batch_size", "dtype", "runtime", "num_threads", "device")
    return [
        *(str(document[name]) for name in plain),
        f"{document['dense_ms']:.2f}",
        f"{document['p90_error_percent']:.1f}",
    ]
