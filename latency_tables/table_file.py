"""Latency tables as JSON files: written whole or not at all, read with every field checked."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from latency_tables.device import DeviceFingerprint
from latency_tables.fields import Fields
from latency_tables.key import BackboneShape, DType, Runtime, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.table import SCHEMA_VERSION, Conditions, EndToEndCheck, LatencyTable
from spvit.errors import LatencyTableError, StorageError
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode

T = TypeVar("T")

_REMEDY = "Measure the table again with `spvit-search profile EXPERIMENT`."


def to_document(table: LatencyTable) -> dict[str, Any]:
    """The table as JSON values, without its hash."""
    document = asdict(replace(table, other_selections={}))
    document["blocks"], document["selections"] = _rows(table.blocks), _rows(table.selections)
    document["last_blocks"] = _rows(table.last_blocks)
    document["other_selections"] = {str(kind): _rows(curve) for kind, curve in table.other_selections.items()}
    document["conditions"]["created_at"] = table.conditions.created_at.isoformat()
    document["device"]["isa_flags"] = list(table.device.isa_flags)
    return {"schema_version": SCHEMA_VERSION, "unit": "ms", **document}


def _rows(curve: Mapping[int, Measurement]) -> list[dict[str, Any]]:
    return [{"num_tokens": count, **asdict(row)} for count, row in curve.items()]


def content_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document's canonical JSON, leaving out its own `sha256`."""
    content = {name: value for name, value in document.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_table(table: LatencyTable, path: Path) -> None:
    """Writes to a temporary file beside `path`, flushes it to the disk and renames it.

    Raises:
        StorageError: the folder or the file cannot be written.
    """
    document = to_document(table)
    text = json.dumps({"sha256": content_sha256(document), **document}, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace_file(path, text)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"Cannot write the latency table {path}: {reason}. Choose a folder that can be written and has space left."
        ) from error


def _replace_file(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is only durable once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_table(path: Path) -> LatencyTable:
    """Reads and checks a table.

    Raises:
        LatencyTableError: see `LatencyTable.load`.
    """
    try:
        return _parse(_document(path))
    except LatencyTableError as error:
        raise LatencyTableError(f"Latency table {path}: {error} {_REMEDY}") from error


def _document(path: Path) -> Fields:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise LatencyTableError("there is no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LatencyTableError(f"it cannot be read ({error}).") from error
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise LatencyTableError(f"it is not JSON ({error}).") from error
    return Fields(document, "the file")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LatencyTableError(f"the keys {', '.join(twice)} appear twice in one object.")
    return dict(pairs)


def _parse(document: Fields) -> LatencyTable:
    _check_header(document)
    return LatencyTable(
        key=_built(_key, document.nested("key")),
        device=_built(_device, document.nested("device")),
        selector=_built(_selector, document.nested("selector")),
        stem=_built(_measurement, document.nested("stem")),
        head=_built(_measurement, document.nested("head")),
        dense=_built(_measurement, document.nested("dense")),
        reference=_built(_measurement, document.nested("reference")),
        blocks=_curve(document, "blocks"),
        selections=_curve(document, "selections"),
        last_blocks=_curve(document, "last_blocks"),
        other_selections=_built(_other_selections, document.nested("other_selections")),
        end_to_end=_built(_end_to_end, document.nested("end_to_end")),
        conditions=_built(_conditions, document.nested("conditions")),
        protocol_version=document.integer("protocol_version"),
    )


def _check_header(document: Fields) -> None:
    version = document.integer("schema_version")
    if version != SCHEMA_VERSION:
        raise LatencyTableError(f"schema_version must be {SCHEMA_VERSION}, but is {version}.")
    unit = document.text("unit")
    if unit != "ms":
        raise LatencyTableError(f"unit must be ms, but is {unit!r}.")
    stored, actual = document.text("sha256"), content_sha256(document.values)
    if stored != actual:
        raise LatencyTableError(f"its content was changed: sha256 should be {stored[:12]}, but is {actual[:12]}.")


def _built(build: Callable[[Fields], T], fields: Fields) -> T:
    """What `build` makes of the fields; a value that its type refuses is reported with its place."""
    try:
        return build(fields)
    except ValueError as error:
        raise LatencyTableError(f"{fields.place}: {error}") from error


def _other_selections(fields: Fields) -> dict[SelectorKind, dict[int, Measurement]]:
    return {SelectorKind(name): _curve(fields, name) for name in fields.values}


def _curve(document: Fields, name: str) -> dict[int, Measurement]:
    curve: dict[int, Measurement] = {}
    for row in document.rows(name):
        count = row.integer("num_tokens")
        if count in curve:
            raise LatencyTableError(f"{row.place}, column num_tokens: {count} appears twice.")
        curve[count] = _built(_measurement, row)
    return curve


def _measurement(fields: Fields) -> Measurement:
    return Measurement(
        median_ms=fields.positive("median_ms"),
        low_ms=fields.positive("low_ms"),
        high_ms=fields.positive("high_ms"),
        num_samples=fields.integer("num_samples"),
    )


def _key(fields: Fields) -> TableKey:
    return TableKey(
        device_id=fields.text("device_id"),
        backbone=fields.text("backbone"),
        shape=_built(_shape, fields.nested("shape")),
        batch_size=fields.integer("batch_size"),
        dtype=DType(fields.text("dtype")),
        runtime=Runtime(fields.text("runtime")),
        num_threads=fields.integer("num_threads"),
    )


def _shape(fields: Fields) -> BackboneShape:
    return BackboneShape(
        depth=fields.integer("depth"),
        num_patches=fields.integer("num_patches"),
        num_prefix_tokens=fields.integer("num_prefix_tokens"),
        embed_dim=fields.integer("embed_dim"),
        num_heads=fields.integer("num_heads"),
        mlp_ratio=fields.positive("mlp_ratio"),
        num_patch_inputs=fields.integer("num_patch_inputs"),
        num_classes=fields.integer("num_classes"),
    )


def _device(fields: Fields) -> DeviceFingerprint:
    return DeviceFingerprint(
        cpu_model=fields.text("cpu_model"),
        isa_flags=fields.texts("isa_flags"),
        logical_cores=fields.integer("logical_cores"),
        usable_cores=fields.integer("usable_cores"),
        gpu_name=fields.text("gpu_name"),
        gpu_driver=fields.text("gpu_driver"),
        torch_version=fields.text("torch_version"),
        system=fields.text("system"),
    )


def _selector(fields: Fields) -> SelectorOptions:
    return SelectorOptions(
        kind=SelectorKind(fields.text("kind")),
        head_weighting=HeadWeighting(fields.text("head_weighting")),
        package=PackageMode(fields.text("package")),
    )


def _end_to_end(fields: Fields) -> EndToEndCheck:
    return EndToEndCheck(
        scale=fields.positive("scale"),
        num_fitted=fields.integer("num_fitted"),
        num_checked=fields.integer("num_checked"),
        median_error_percent=fields.number("median_error_percent"),
        p90_error_percent=fields.number("p90_error_percent"),
        max_error_percent=fields.number("max_error_percent"),
    )


def _conditions(fields: Fields) -> Conditions:
    return Conditions(
        created_at=datetime.fromisoformat(fields.text("created_at")),
        load_average=fields.number("load_average"),
        cpu_pressure_percent=fields.optional_number("cpu_pressure_percent"),
        reference_spread_percent=fields.number("reference_spread_percent"),
    )
