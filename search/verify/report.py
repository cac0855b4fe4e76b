"""What was found of each invariant, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Invariant(StrEnum):
    """What every study keeps, whatever was killed, filled or torn while it was searched."""

    NOTHING_LOST = "I1"
    RUN_ONCE = "I2"
    NO_DUPLICATES = "I3"
    SAME_FRONT = "I4"
    TRACKED = "I5"
    NOTHING_LEFT = "I6"
    FILES_WHOLE = "I7"
    FAILURES_TOLD = "I8"


PROMISES: Mapping[Invariant, str] = MappingProxyType(
    {
        Invariant.NOTHING_LOST: "no finished trial is lost",
        Invariant.RUN_ONCE: "each trial ends once, and a finished one never runs again",
        Invariant.NO_DUPLICATES: "no two trials are the same, and as many ran as were asked for",
        Invariant.SAME_FRONT: "the front is that of an undisturbed search",
        Invariant.TRACKED: "MLflow and the exports say what the study says",
        Invariant.NOTHING_LEFT: "nothing is left running, locked or half written",
        Invariant.FILES_WHOLE: "every checkpoint and export is whole",
        Invariant.FAILURES_TOLD: "failures are told in a few lines without secrets",
    }
)


class Outcome(StrEnum):
    """How an invariant stands."""

    HOLDS = "ok"
    VIOLATED = "violated"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """Where a study breaks an invariant, and how."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One invariant of one study. `note` says what was looked at, or why it was not."""

    invariant: Invariant
    outcome: Outcome
    violations: tuple[Violation, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.VIOLATED) != bool(self.violations):
            raise ValueError(f"An invariant is violated exactly where violations are named, but got {self}.")

    @classmethod
    def of(cls, invariant: Invariant, violations: tuple[Violation, ...], note: str = "") -> Finding:
        """The finding that violations, or none, amount to."""
        outcome = Outcome.VIOLATED if violations else Outcome.HOLDS
        return cls(invariant=invariant, outcome=outcome, violations=violations, note=note)


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """Every invariant of one study, in their order. `front_sha256` is the hash of its front as canonical CSV."""

    study: str
    front_sha256: str
    findings: tuple[Finding, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nothing is violated; what could not be checked does not count."""
        return all(finding.outcome is not Outcome.VIOLATED for finding in self.findings)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Every violation, in the order of the invariants."""
        return tuple(violation for finding in self.findings for violation in finding.violations)

    def __getitem__(self, invariant: Invariant) -> Finding:
        return next(finding for finding in self.findings if finding.invariant is invariant)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "study": self.study,
            "is_ok": self.is_ok,
            "front_sha256": self.front_sha256,
            "invariants": [
                {
                    "id": str(finding.invariant),
                    "promise": PROMISES[finding.invariant],
                    "outcome": str(finding.outcome),
                    "note": finding.note,
                    "violations": [{"where": v.where, "what": v.what} for v in finding.violations],
                }
                for finding in self.findings
            ],
        }
