"""I8: failures are told in a few lines, with a documented exit code and without secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.verify.facts import Facts
from search.verify.report import Violation
from spvit.errors import ExitCode

MAX_LINES = 10
TRACEBACK = "Traceback (most recent call last)"


def badly_told(facts: Facts) -> Iterator[Violation]:
    """I8: the reasons that the study holds can be read, and no secret stands anywhere."""
    for trial in facts.study.trials:
        yield from _unreadable(f"trial {trial.number}", trial.reason)
    if facts.study.end is not None:
        yield from _unreadable("the search's end", facts.study.end.reason)
    for secret in facts.secrets:
        yield Violation(where=secret.where, what=f"holds a secret ({secret.name})")


def badly_ended(exit_code: int, stderr: str) -> Iterator[Violation]:
    """What is wrong with how a command ended, from the outside: its exit code and what it wrote to stderr."""
    documented = {int(code) for code in ExitCode}
    if exit_code not in documented:
        yield Violation(where="exit code", what=f"{exit_code} is none of {sorted(documented)}")
    if exit_code == ExitCode.BUG:
        yield Violation(where="exit code", what="1 is a defect")
    yield from _unreadable("stderr", _error_of(stderr))


def _error_of(stderr: str) -> str:
    """What is told of the error; progress and warnings stand before it."""
    return stderr if TRACEBACK in stderr else stderr[max(0, stderr.rfind("error: ")) :]


def _unreadable(where: str, text: str) -> Iterator[Violation]:
    if TRACEBACK in text:
        yield Violation(where=where, what="is told by a traceback")
    elif len(text.splitlines()) > MAX_LINES:
        yield Violation(where=where, what=f"takes {len(text.splitlines())} lines, more than {MAX_LINES}")
