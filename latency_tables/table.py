"""The latency table: what each part of one backbone costs on one device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.schedule import TokenGeometry

SCHEMA_VERSION = 2
"""Raised when the file's layout changes; another version is refused."""

PROTOCOL_VERSION = 1
"""Raised when the way of measuring changes, so that times of two protocols are never compared."""

# More tokens can truly be faster, as kernels prefer multiples of 16: 47 tokens took 1.44 and 50 tokens 0.97 times the
# same reference (PyTorch's CPU attention, heads of 16 channels, batch 64). Twice as fast is a broken measurement.
_MONOTONE_SLACK = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToEndCheck:
    """How well the sum of the parts tells the latency of complete pruned models.

    `scale` was fitted on `num_fitted` models; the errors are those on `num_checked` others, in percent of the measured
    latency, and hold the measurement noise of those models as well.
    """

    scale: float
    num_fitted: int
    num_checked: int
    median_error_percent: float
    p90_error_percent: float
    max_error_percent: float

    def __post_init__(self) -> None:
        errors = (self.median_error_percent, self.p90_error_percent, self.max_error_percent)
        if not (math.isfinite(self.scale) and self.scale > 0.0):
            raise ValueError(f"The scale must be a finite number above 0, but got {self.scale}.")
        if not all(math.isfinite(error) and error >= 0.0 for error in errors) or list(errors) != sorted(errors):
            raise ValueError(f"Errors must be finite, at least 0 and rise from median to maximum, but got {errors}.")
        if self.num_fitted < 1 or self.num_checked < 1:
            raise ValueError(f"At least one model must be fitted and one checked, but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How busy the machine was: the first thing to look at when two tables differ.

    `cpu_pressure_percent` is the share of time that a runnable task waited for a CPU (Linux PSI, 10 s average), absent
    where the kernel does not tell. `reference_spread_percent` is (p95 - p5) / median of the reference's samples.
    """

    created_at: datetime
    load_average: float
    cpu_pressure_percent: float | None
    reference_spread_percent: float

    def __post_init__(self) -> None:
        if self.created_at.utcoffset() is None:
            raise ValueError(f"created_at needs a time zone, but got {self.created_at}.")
        numbers = (self.load_average, self.cpu_pressure_percent or 0.0, self.reference_spread_percent)
        if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
            raise ValueError(f"Load, pressure and spread must be finite and at least 0, but got {numbers}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyTable:
    """Milliseconds per batch of every part of one backbone on one device.

    Attributes:
        key: what the table is for.
        device: the machine it was measured on.
        selector: the selector that `selections` holds, and the form of the `other_selections`.
        stem: patch embedding up to the first block.
        head: final norm and classifier.
        dense: the whole unpruned model.
        reference: one dense block, to which every sample was taken as a ratio.
        blocks: one block by the number of tokens that enter it.
        selections: selector, gather and package token by the number of tokens before them (prefix and packages
            included), at a keep rate of 0.7.
        last_blocks: what the last block of a pruned model costs where only its prefix tokens are computed, by the
            number of tokens that enter it; none where the model reads its patches.
        other_selections: `selections` for other kinds of selectors, among which a search may choose.
        end_to_end: the check against complete models.
        conditions: when and under which load it was measured.
        protocol_version: the way of measuring.
    """

    key: TableKey
    device: DeviceFingerprint
    selector: SelectorOptions
    stem: Measurement
    head: Measurement
    dense: Measurement
    reference: Measurement
    blocks: Mapping[int, Measurement]
    selections: Mapping[int, Measurement]
    end_to_end: EndToEndCheck
    conditions: Conditions
    last_blocks: Mapping[int, Measurement] = field(default_factory=dict)
    other_selections: Mapping[SelectorKind, Mapping[int, Measurement]] = field(default_factory=dict)
    protocol_version: int = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        """Refuses curves that cannot be.

        Raises:
            LatencyTableError: naming the curve and the row.
        """
        _check_curve("blocks", self.blocks, self.shape.smallest_num_tokens, self.geometry.num_tokens)
        _check_curve("selections", self.selections, self.shape.smallest_selection, self.geometry.num_tokens)
        if self.last_blocks:
            _check_curve("last_blocks", self.last_blocks, self.shape.smallest_num_tokens, self.geometry.num_tokens)
        for kind, curve in self.other_selections.items():
            _check_curve(f"selections of {kind}", curve, self.shape.smallest_selection, self.geometry.num_tokens)
        if self.selector.kind in self.other_selections:
            raise LatencyTableError(f"selections of {self.selector.kind} are there twice.")

    def selections_of(self, kind: SelectorKind | None) -> Mapping[int, Measurement]:
        """What selections by this kind of selector cost; by the table's own where it is None.

        Raises:
            LatencyTableError: the table was measured without it.
        """
        if kind is None or kind is self.selector.kind:
            return self.selections
        if kind not in self.other_selections:
            raise LatencyTableError(
                f"The latency table for {self.key.backbone} tells what {', '.join(self.selector_kinds)} selectors "
                f"cost, but not {kind}. Measure it anew with `spvit-search profile EXPERIMENT`."
            )
        return self.other_selections[kind]

    @property
    def selector_kinds(self) -> tuple[SelectorKind, ...]:
        """The kinds of selectors whose cost is known."""
        return (self.selector.kind, *self.other_selections)

    @property
    def shape(self) -> BackboneShape:
        """Sizes of the backbone."""
        return self.key.shape

    @property
    def geometry(self) -> TokenGeometry:
        """What decides the backbone's token counts."""
        return self.shape.geometry

    @property
    def sha256(self) -> str:
        """Hash of the content, also kept in the file: two tables with one hash give the same predictions."""
        from latency_tables.table_file import content_sha256, to_document

        return content_sha256(to_document(self))

    def save(self, path: Path) -> None:
        """Writes the table as JSON, whole or not at all.

        Raises:
            StorageError: the file cannot be written.
        """
        from latency_tables.table_file import write_table

        write_table(self, path)

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Reads a table and checks everything in it.

        Raises:
            LatencyTableError: the file is missing, damaged or impossible; names the file, the row and the column.
        """
        from latency_tables.table_file import read_table

        return read_table(path)


def _check_curve(name: str, curve: Mapping[int, Measurement], smallest: int, largest: int) -> None:
    counts = list(curve)
    if len(counts) < 2:
        raise LatencyTableError(f"{name} needs at least 2 token counts, but has {len(counts)}.")
    if counts != sorted(counts):
        raise LatencyTableError(f"{name} must be in the order of num_tokens, but got {counts}.")
    # A single patch leaves nothing to select from; the curve then only has to reach the dense count.
    if counts[0] > min(smallest, largest - 1) or counts[-1] < largest or counts[0] < 1:
        raise LatencyTableError(
            f"{name} must reach from num_tokens={smallest} to num_tokens={largest}, "
            f"but covers {counts[0]} to {counts[-1]}."
        )
    for fewer, more in pairwise(counts):
        if curve[more].high_ms * _MONOTONE_SLACK < curve[fewer].low_ms:
            raise LatencyTableError(
                f"{name}: num_tokens={more} ({curve[more].median_ms:.4g} ms) cannot be faster than "
                f"num_tokens={fewer} ({curve[fewer].median_ms:.4g} ms); the measurement was disturbed."
            )
