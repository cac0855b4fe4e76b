"""The latency table: what each part of one backbone costs on one device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latency_tables.conditions import Conditions
from latency_tables.curves import Curve, LevelRows, check_curve
from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.plausibility import check_plausible
from latency_tables.provenance import Provenance
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind
from spvit.schedule import TokenGeometry

SCHEMA_VERSION = 3
"""Raised when the file's layout changes; another version is refused."""

PROTOCOL_VERSION = 2
"""Raised when the way of measuring changes, so that times of two protocols are never compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToEndCheck:
    """How well the sum of the parts tells the latency of complete pruned models.

    `scale` was fitted on `num_fitted` models. The errors are those of `num_checked` models, each under a scale fitted
    without it, in percent of the measured latency; they hold the measurement noise of those models as well. Where no
    model was measured both numbers are 0, and the errors are assumed.
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
        if min(self.num_fitted, self.num_checked) < 1 and (self.num_fitted, self.num_checked) != (0, 0):
            raise ValueError(f"At least one model must be fitted and one checked, or none at all, but got {self}.")

    @property
    def is_assumed(self) -> bool:
        """Whether no complete model was measured, so that the errors are a guess."""
        return self.num_checked == 0


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
        pooling: all that leads from level to level; none where the backbone has but one.
        deeper_levels: for each level behind a pooling, what `blocks` and the selections are for the first one.
        end_to_end: the check against complete models.
        conditions: when and under which load it was measured.
        protocol_version: the way of measuring.
        provenance: whether the numbers were imported or rescaled.
    """

    key: TableKey
    device: DeviceFingerprint
    selector: SelectorOptions
    stem: Measurement
    head: Measurement
    dense: Measurement
    reference: Measurement
    blocks: Curve
    selections: Curve
    end_to_end: EndToEndCheck
    conditions: Conditions
    last_blocks: Curve = field(default_factory=dict)
    other_selections: Mapping[SelectorKind, Curve] = field(default_factory=dict)
    pooling: Measurement | None = None
    deeper_levels: tuple[LevelRows, ...] = ()
    protocol_version: int = PROTOCOL_VERSION
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Refuses curves that cannot be.

        Raises:
            LatencyTableError: naming the curve and the row.
        """
        self._check_levels()
        for number, (rows, level) in enumerate(zip(self.levels, self.geometry.levels, strict=True)):
            rows.check(
                num_prefix_tokens=self.shape.num_prefix_tokens,
                num_patches=level.num_patches,
                reference_ms=self.reference.median_ms,
                prefix=f"level {number + 1}: " if number else "",
            )
        if self.last_blocks:
            smallest, largest = self.shape.smallest_num_tokens, self.geometry.num_tokens
            check_curve("last_blocks", self.last_blocks, smallest, largest, reference_ms=self.reference.median_ms)
        if self.selector.kind in self.other_selections:
            raise LatencyTableError(f"selections of {self.selector.kind} are there twice.")
        check_plausible(self)

    def _check_levels(self) -> None:
        num_levels = len(self.geometry.levels)
        if len(self.levels) != num_levels:
            raise LatencyTableError(
                f"deeper_levels must hold {num_levels - 1} levels, as key.shape has {num_levels} in all, but holds "
                f"{len(self.deeper_levels)}."
            )
        if (self.pooling is None) != (num_levels == 1):
            raise LatencyTableError("pooling must be there exactly where the backbone has several levels.")
        if self.last_blocks and num_levels > 1:
            raise LatencyTableError("last_blocks must be empty where the backbone has several levels.")
        for number, rows in enumerate(self.deeper_levels, start=2):
            if rows.selections and rows.other_selections.keys() != self.other_selections.keys():
                raise LatencyTableError(
                    f"level {number}: other_selections must be those of the first level "
                    f"({_listed(self.other_selections)}), but are {_listed(rows.other_selections)}."
                )

    @property
    def levels(self) -> tuple[LevelRows, ...]:
        """The rows of each level of the backbone; a plain vision transformer has but one."""
        first = LevelRows(blocks=self.blocks, selections=self.selections, other_selections=self.other_selections)
        return (first, *self.deeper_levels)

    def selections_of(self, kind: SelectorKind | None, level: int = 0) -> Curve:
        """What selections by this kind of selector cost in a level; by the table's own where it is None.

        Raises:
            LatencyTableError: the table was measured without it.
        """
        rows = self.levels[level]
        if kind is None or kind is self.selector.kind:
            return rows.selections
        if kind not in self.other_selections:
            raise LatencyTableError(
                f"The latency table for {self.key.backbone} tells what {', '.join(self.selector_kinds)} selectors "
                f"cost, but not {kind}. Measure it anew with `spvit-search profile EXPERIMENT`."
            )
        return rows.other_selections.get(kind, {})

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
        from latency_tables.table_document import content_sha256, to_document

        return content_sha256(to_document(self))

    def rescaled(self, ratio: float) -> LatencyTable:
        """All times multiplied by `ratio`, which is kept in `provenance`: shares of the dense latency stay the same.

        Raises:
            ValueError: the ratio is not a finite number above 0.
        """
        from latency_tables.rescaling import rescaled

        return rescaled(self, ratio)

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


def _listed(kinds: Iterable[SelectorKind]) -> str:
    return ", ".join(kinds) or "none"
