"""Calibrated thresholds: from which margin on a token stays, so that images keep as many tokens as their content needs.

No torch, so that they can be read and written without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What thresholds were calibrated for, and what they gave; rates are shares of all patches, one a selection.

    Attributes:
        target_keep_rates: the mean over images that was wanted.
        keep_rates: the mean over the calibration images that was reached: ties can stand in the way of the target.
        num_images: calibration images.
    """

    target_keep_rates: tuple[float, ...]
    keep_rates: tuple[float, ...]
    num_images: int

    def __post_init__(self) -> None:
        if self.num_images < 1:
            raise ValueError(f"Thresholds are calibrated on at least one image, but got {self.num_images}.")
        if len(self.target_keep_rates) != len(self.keep_rates):
            raise ValueError(f"Each target needs the keep rate that was reached, but got {self}.")
        if not all(0.0 < rate <= 1.0 for rate in self.target_keep_rates + self.keep_rates):
            raise ValueError(f"Keep rates must lie in (0, 1], but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """The least margin of a token that stays, one for each selection of a model, in the order of their blocks.

    `calibration` is None for thresholds that were set by hand.
    """

    values: tuple[float, ...]
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"Thresholds must be finite numbers, but got {self.values}.")
        if self.calibration is not None and len(self.calibration.keep_rates) != len(self.values):
            raise ValueError(f"A calibration needs one keep rate for each of {len(self.values)} thresholds.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Thresholds:
        """What `to_dict` gave.

        Raises:
            KeyError: a field is missing.
            ValueError: a value is out of range.
        """
        found = values["calibration"]
        calibration = found and Calibration(
            target_keep_rates=tuple(found["target_keep_rates"]),
            keep_rates=tuple(found["keep_rates"]),
            num_images=found["num_images"],
        )
        return cls(values=tuple(values["values"]), calibration=calibration)
