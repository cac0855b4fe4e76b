"""What benchmarks have in common: bars that a value must reach, and where rows and bars are written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value and its target, which is a floor or a ceiling."""

    name: str
    value: float
    target: float
    is_ceiling: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value is on the right side of the target."""
        return self.value <= self.target if self.is_ceiling else self.value >= self.target

    def to_text(self) -> str:
        """One line for the reader."""
        sign = "at most" if self.is_ceiling else "at least"
        return f"{self.name}: {self.value:.3f}, {sign} {self.target:g}: {'holds' if self.holds else 'MISSED'}"


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="about a minute, for a look")
    made.add_argument("--json", type=Path, help="also write rows and bars to this file")
    return made


def finish(rows: Sequence[Mapping[str, Any]], bars: Sequence[Bar], path: Path | None) -> None:
    """Print the bars, and write everything where a file was asked for."""
    for bar in bars:
        print(bar.to_text())
    if path is not None:
        named = [{**{k: v for k, v in asdict(bar).items() if k != "is_ceiling"}, "holds": bar.holds} for bar in bars]
        path.write_text(json.dumps({"rows": list(rows), "bars": named}, indent=2) + "\n")
