"""Recorded studies as Parquet files: one row for each trial, everything else in the schema's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search.recorded import RecordedStudy, RecordedTrial
from search.records import Latency
from spvit.errors import StorageError, UsageError
from spvit.schedule import Level, TokenGeometry

FORMAT = "spvit-search recorded study"
VERSION = 1
SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("params", pa.string()),
        pa.field("config", pa.string()),
        pa.field("block_tokens", pa.list_(pa.int32())),
        pa.field("latency_ms", pa.float64()),
        pa.field("latency_low_ms", pa.float64()),
        pa.field("latency_high_ms", pa.float64()),
        pa.field("curve", pa.list_(pa.float64())),
        pa.field("epoch_s", pa.list_(pa.float64())),
    ]
)
"""`params` and `config` are JSON; `curve` is top-1 in percent and `epoch_s` seconds, one value for each epoch."""


def write_recorded(study: RecordedStudy, path: Path) -> None:
    """Writes a table in one step: what was there before stays whole until the new one is.

    Raises:
        StorageError: the file cannot be written.
    """
    schema = SCHEMA.with_metadata({key: json.dumps(value) for key, value in _metadata(study).items()})
    table = pa.Table.from_pylist([_row(trial) for trial in study.trials], schema=schema)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error}. Free space or choose another --output") from None


def read_recorded(path: Path) -> RecordedStudy:
    """Reads a table and checks every value.

    Raises:
        UsageError: there is no such file.
        StorageError: it is damaged, or no such table.
    """
    if not path.is_file():
        raise UsageError(f"no recorded study {path}; `spvit-search record STUDY` writes one")
    with _damage_named(path):
        table = pq.read_table(path, memory_map=False)
        metadata = {key.decode(): value for key, value in (table.schema.metadata or {}).items()}
        if "format" not in metadata or json.loads(metadata["format"]) != FORMAT:
            raise ValueError("it is a Parquet file, but not a recorded study")
        if (version := json.loads(metadata["version"])) != VERSION:
            raise ValueError(f"version {VERSION} of the format was required, but it is version {version}")
        return RecordedStudy(
            trials=tuple(_trial(row) for row in table.to_pylist()),
            epochs=int(json.loads(metadata["epochs"])),
            experiment=str(json.loads(metadata["experiment"])),
            geometry=_geometry(json.loads(metadata["geometry"])),
            dense_ms=float(json.loads(metadata["dense_ms"])),
            provenance={str(key): str(value) for key, value in json.loads(metadata["provenance"]).items()},
        )


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns whatever a foreign or damaged file causes into one error with a remedy."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        lines = str(error).splitlines()
        cause = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        raise StorageError(
            f"{path}: not a usable recorded study ({cause}); write it again with `spvit-search record STUDY`"
        ) from None


def _metadata(study: RecordedStudy) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "epochs": study.epochs,
        "experiment": study.experiment,
        "geometry": asdict(study.geometry),
        "dense_ms": study.dense_ms,
        "provenance": dict(study.provenance),
    }


def _row(trial: RecordedTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "params": json.dumps(dict(trial.params)),
        "config": json.dumps(dict(trial.config)),
        "block_tokens": list(trial.block_tokens),
        "latency_ms": trial.latency.mean_ms,
        "latency_low_ms": trial.latency.low_ms,
        "latency_high_ms": trial.latency.high_ms,
        "curve": list(trial.curve),
        "epoch_s": list(trial.epoch_s),
    }


def _trial(row: Mapping[str, Any]) -> RecordedTrial:
    return RecordedTrial(
        number=int(row["number"]),
        params=_object(row["params"]),
        config=_object(row["config"]),
        block_tokens=tuple(int(count) for count in row["block_tokens"]),
        latency=Latency(mean_ms=row["latency_ms"], low_ms=row["latency_low_ms"], high_ms=row["latency_high_ms"]),
        curve=tuple(float(top1) for top1 in row["curve"]),
        epoch_s=tuple(float(seconds) for seconds in row["epoch_s"]),
    )


def _object(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError(f"a JSON object was required, but got {text[:40]!r}")
    return values


def _geometry(values: Mapping[str, Any]) -> TokenGeometry:
    return TokenGeometry(
        depth=int(values["depth"]),
        num_patches=int(values["num_patches"]),
        num_prefix_tokens=int(values["num_prefix_tokens"]),
        levels=tuple(Level(**level) for level in values["levels"]),
    )
