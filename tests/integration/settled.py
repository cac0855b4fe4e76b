"""What `verify` finds in a study once Ray's processes have noticed that their driver or their node is gone."""

from __future__ import annotations

import time
from pathlib import Path

from search.verify import Expected
from search.verify.facts import Facts
from search.verify.load import load_facts
from search.verify.report import Violation
from search.verify.verify import verify_facts

PATIENCE_S = 90
"""Ray's agents look every few seconds; on a busy machine that takes many."""


def facts(directory: Path) -> Facts:
    """All facts; processes only where they stay."""
    for _ in range(PATIENCE_S):
        found = load_facts(directory)
        if not found.orphans:
            break
        time.sleep(1.0)
    return found


def violations(directory: Path, expected: Expected | None = None) -> tuple[Violation, ...]:
    """All violations; those of processes only where they stay."""
    return tuple(verify_facts(facts(directory), expected or Expected()).violations)
