"""The parts of a model that a CSV file tells, by name and number of tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from latency_tables.csv_rows import CsvForm, CsvRow, CsvRows
from latency_tables.curves import Curve
from latency_tables.key import BackboneShape
from latency_tables.measurement import Measurement
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind

_SINGLE = ("stem", "head", "dense")
_CURVES = ("block", "last_block")
_SELECTION = "selection:"


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvParts:
    """Curves in the order of their token counts. None, or nothing, where the file does not tell."""

    blocks: Curve
    last_blocks: Curve = field(default_factory=dict)
    selections: dict[SelectorKind, Curve] = field(default_factory=dict)
    stem: Measurement | None = None
    head: Measurement | None = None
    dense: Measurement | None = None


def parts_of(rows: CsvRows, shape: BackboneShape) -> CsvParts:
    """What the rows of either form say of a backbone of this shape.

    Raises:
        LatencyTableError: a part, a token count or a keep ratio cannot be, or is there twice; names the line.
    """
    if rows.form is CsvForm.KEEP_RATIOS:
        return CsvParts(blocks=_blocks_by_keep_ratio(rows, shape))
    curves: dict[str, dict[int, Measurement]] = {}
    for row in rows.rows:
        curve, count = curves.setdefault(_part(row), {}), _num_tokens(row)
        if count in curve:
            raise LatencyTableError(f"line {row.line}: {_described(row)} is there twice.")
        curve[count] = row.time
    if "block" not in curves:
        raise LatencyTableError("there is no row of part block.")
    ordered = {part: dict(sorted(curve.items())) for part, curve in curves.items()}
    single = {part: ordered[part][0] for part in _SINGLE if part in ordered}
    return CsvParts(
        blocks=ordered["block"],
        last_blocks=ordered.get("last_block", {}),
        selections={kind: ordered[name] for kind in SelectorKind if (name := f"{_SELECTION}{kind}") in ordered},
        stem=single.get("stem"),
        head=single.get("head"),
        dense=single.get("dense"),
    )


def _part(row: CsvRow) -> str:
    known = (*_SINGLE, *_CURVES, *(f"{_SELECTION}{kind}" for kind in SelectorKind))
    if row.labels["part"] not in known:
        raise row.wrong("part", f"one of {', '.join(known)}")
    return row.labels["part"]


def _num_tokens(row: CsvRow) -> int:
    """0 for what has none."""
    if row.labels["part"] not in _SINGLE:
        return row.integer("num_tokens")
    if row.labels["num_tokens"]:
        raise row.wrong("num_tokens", f"empty for the part {row.labels['part']}")
    return 0


def _described(row: CsvRow) -> str:
    tokens = row.labels["num_tokens"]
    return f"{row.labels['part']} at {tokens} tokens" if tokens else row.labels["part"]


def _blocks_by_keep_ratio(rows: CsvRows, shape: BackboneShape) -> dict[int, Measurement]:
    """Of `num_patches`, a ratio keeps the nearest whole number, beside the class token and its like."""
    curve: dict[int, Measurement] = {}
    for row in rows.rows:
        ratio = row.number("keep_ratio")
        if not 0.0 < ratio <= 1.0:
            raise row.wrong("keep_ratio", "above 0 and at most 1")
        count = shape.num_prefix_tokens + max(1, round(ratio * shape.num_patches))
        if count in curve:
            raise LatencyTableError(
                f"line {row.line}: keep_ratio {ratio:g} means {count} tokens, which is there twice."
            )
        curve[count] = row.time
    largest = shape.geometry.num_tokens
    if largest not in curve:
        raise LatencyTableError("there is no row for keep_ratio 1, the block of the dense model.")
    if len(curve) < 2:
        raise LatencyTableError("at least two keep ratios are needed.")
    return dict(sorted(curve.items()))
