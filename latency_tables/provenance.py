"""Where a table's numbers come from, other than from a measurement by this program on the table's own device."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """How a table came to its numbers; the default is a table that was measured and left as it was.

    Attributes:
        imported_from: the CSV file that it was made from, by name; empty where it was measured.
        assumed: what that file does not tell, in words: assumed, with wide intervals.
        rescaled_by: what all times were multiplied with, as the device became slower (above 1) or faster.
        rescaled_from: SHA-256 of the table before; empty where it was not rescaled.
    """

    imported_from: str = ""
    assumed: tuple[str, ...] = ()
    rescaled_by: float = 1.0
    rescaled_from: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rescaled_by) and self.rescaled_by > 0.0):
            raise ValueError(f"rescaled_by must be a finite number above 0, but got {self.rescaled_by}.")
        if bool(self.rescaled_from) != (self.rescaled_by != 1.0):
            raise ValueError(f"rescaled_by and rescaled_from belong together, but got {self}.")
        if self.assumed and not self.imported_from:
            raise ValueError(f"Only an imported table assumes anything, but got {self}.")
