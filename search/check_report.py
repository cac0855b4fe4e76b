"""What came of checking an export, line by line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class CheckState(StrEnum):
    """How one line ended. A note is no promise: it neither passes nor fails."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckLine:
    """One thing that was checked: what, how it ended, and what was found beside what was required."""

    what: str
    state: CheckState
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Every line of one check."""

    directory: str
    lines: tuple[CheckLine, ...]

    @property
    def is_passed(self) -> bool:
        """Whether nothing failed."""
        return all(line.state is not CheckState.FAIL for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"is_passed": self.is_passed}

    def to_text(self) -> str:
        """A line for each, and the conclusion."""
        width = max(len(line.what) for line in self.lines)
        lines = [f"{line.state:<4}  {line.what:<{width}}  {line.text}" for line in self.lines]
        num_failed = sum(line.state is CheckState.FAIL for line in self.lines)
        conclusion = f"{num_failed} of {len(self.lines)} lines failed" if num_failed else "every promise is kept"
        return "\n".join([*lines, f"{'PASS' if self.is_passed else 'FAIL'}  {self.directory}: {conclusion}"])


def passed_if(what: str, *, holds: bool, text: str) -> CheckLine:
    """A line that passes or fails."""
    return CheckLine(what=what, state=CheckState.PASS if holds else CheckState.FAIL, text=text)


def note(what: str, text: str) -> CheckLine:
    """A line that only says something."""
    return CheckLine(what=what, state=CheckState.NOTE, text=text)


def changed_names(stored: dict[str, str], found: dict[str, str]) -> Sequence[str]:
    """What differs between two sets of named values, as `name old -> new`."""
    return [
        f"{name} {stored.get(name) or 'none'} -> {found.get(name) or 'none'}"
        for name in sorted({*stored, *found})
        if stored.get(name) != found.get(name)
    ]
