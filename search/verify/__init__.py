"""Whether a study keeps what every study promises: `verify_study`."""

from search.verify.expected import Expected
from search.verify.report import Finding, Invariant, Outcome, VerifyReport, Violation
from search.verify.verify import verify_study

__all__ = ["Expected", "Finding", "Invariant", "Outcome", "VerifyReport", "Violation", "verify_study"]
