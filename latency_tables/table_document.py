"""Latency tables as JSON values, and back with every field checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from typing import Any, TypeVar

from latency_tables.conditions import Conditions
from latency_tables.curves import Curve, LevelRows
from latency_tables.device import DeviceFingerprint
from latency_tables.fields import Fields
from latency_tables.key import BackboneShape, DType, LevelShape, Runtime, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.provenance import Provenance
from latency_tables.table import SCHEMA_VERSION, EndToEndCheck, LatencyTable
from spvit.errors import LatencyTableError
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode

T = TypeVar("T")


def to_document(table: LatencyTable) -> dict[str, Any]:
    """The table as JSON values, without its hash."""
    document = {field.name: _value(getattr(table, field.name)) for field in fields(table)}
    document["blocks"], document["selections"] = _rows(table.blocks), _rows(table.selections)
    document["last_blocks"] = _rows(table.last_blocks)
    document["other_selections"] = _rows_by_kind(table.other_selections)
    _write_levels(document, table)
    _write_optional(document, table)
    document["conditions"]["created_at"] = table.conditions.created_at.isoformat()
    document["conditions"]["pinned_cores"] = list(table.conditions.pinned_cores)
    document["device"]["isa_flags"] = list(table.device.isa_flags)
    return {"schema_version": SCHEMA_VERSION, "unit": "ms", **document}


def _write_levels(document: dict[str, Any], table: LatencyTable) -> None:
    """Tables of backbones without levels are the files, with the hashes, that they were before there were any."""
    if not table.deeper_levels:
        del document["pooling"], document["deeper_levels"], document["key"]["shape"]["levels"]
        return
    document["key"]["shape"]["levels"] = [asdict(level) for level in table.shape.levels]
    document["deeper_levels"] = [
        {
            "blocks": _rows(level.blocks),
            "selections": _rows(level.selections),
            "other_selections": _rows_by_kind(level.other_selections),
        }
        for level in table.deeper_levels
    ]


def _write_optional(document: dict[str, Any], table: LatencyTable) -> None:
    """What is not known, or is as in every measured table, is not written: such tables keep their hashes."""
    for name in ("timm_version", "runtime_version"):
        if not document["device"][name]:
            del document["device"][name]
    for name in ("num_rows", "num_precise_rows"):
        if document["conditions"][name] is None:
            del document["conditions"][name]
    if table.provenance == Provenance():
        del document["provenance"]
    else:
        document["provenance"]["assumed"] = list(table.provenance.assumed)


def _rows_by_kind(curves: Mapping[SelectorKind, Curve]) -> dict[str, list[dict[str, Any]]]:
    return {str(kind): _rows(curve) for kind, curve in curves.items()}


def _rows(curve: Curve) -> list[dict[str, Any]]:
    return [{"num_tokens": count, **asdict(row)} for count, row in curve.items()]


def _value(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def content_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document's canonical JSON, leaving out its own `sha256`."""
    content = {name: value for name, value in document.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def parse(document: Fields) -> LatencyTable:
    """The table that a document holds.

    Raises:
        LatencyTableError: names the row and the column that cannot be.
    """
    _check_header(document)
    table = LatencyTable(
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
        pooling=_built(_measurement, document.nested("pooling")) if document.has("pooling") else None,
        deeper_levels=_deeper_levels(document),
        end_to_end=_built(_end_to_end, document.nested("end_to_end")),
        conditions=_built(_conditions, document.nested("conditions")),
        protocol_version=document.integer("protocol_version"),
        provenance=_built(_provenance, document.nested("provenance")) if document.has("provenance") else Provenance(),
    )
    document.check_all_read()
    return table


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
    """What `build` makes of all the fields; a value that its type refuses is reported with its place."""
    try:
        value = build(fields)
    except ValueError as error:
        raise LatencyTableError(f"{fields.place}: {error}") from error
    fields.check_all_read()
    return value


def _deeper_levels(document: Fields) -> tuple[LevelRows, ...]:
    rows = document.rows("deeper_levels") if document.has("deeper_levels") else []
    return tuple(_level(row, number) for number, row in enumerate(rows, start=2))


def _level(fields: Fields, number: int) -> LevelRows:
    try:
        return _built(_level_rows, fields)
    except LatencyTableError as error:
        raise LatencyTableError(f"level {number}: {error}") from error


def _level_rows(fields: Fields) -> LevelRows:
    return LevelRows(
        blocks=_curve(fields, "blocks"),
        selections=_curve(fields, "selections"),
        other_selections=_built(_other_selections, fields.nested("other_selections")),
    )


def _other_selections(fields: Fields) -> dict[SelectorKind, Curve]:
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
        levels=tuple(_built(_level_shape, row) for row in (fields.rows("levels") if fields.has("levels") else [])),
    )


def _level_shape(fields: Fields) -> LevelShape:
    return LevelShape(
        num_blocks=fields.integer("num_blocks"),
        num_patches=fields.integer("num_patches"),
        embed_dim=fields.integer("embed_dim"),
        num_heads=fields.integer("num_heads"),
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
        timm_version=fields.optional_text("timm_version"),
        runtime_version=fields.optional_text("runtime_version"),
    )


def _selector(fields: Fields) -> SelectorOptions:
    return SelectorOptions(
        kind=SelectorKind(fields.text("kind")),
        head_weighting=HeadWeighting(fields.text("head_weighting")),
        package=PackageMode(fields.text("package")),
    )


def _provenance(fields: Fields) -> Provenance:
    return Provenance(
        imported_from=fields.text("imported_from"),
        assumed=fields.texts("assumed"),
        rescaled_by=fields.positive("rescaled_by"),
        rescaled_from=fields.text("rescaled_from"),
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
        load_average_after=fields.optional_number("load_average_after"),
        cpu_pressure_percent_after=fields.optional_number("cpu_pressure_percent_after"),
        usable_cores=fields.optional_integer("usable_cores"),
        pinned_cores=fields.integers("pinned_cores"),
        preparation_s=fields.number("preparation_s"),
        num_rows=fields.integer("num_rows") if fields.has("num_rows") else None,
        num_precise_rows=fields.integer("num_precise_rows") if fields.has("num_precise_rows") else None,
    )
